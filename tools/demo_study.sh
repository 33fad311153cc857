# Sourced by the demos, with $strobe set.
# run_demo_study STUDY FOLDER: goes on in FOLDER where it was interrupted; what is complete there, or was another study, stays
# as it is, and FOLDER-2 takes the place. $runs is then the folder.
run_demo_study() {
  local number=1
  runs=$2
  while [ -e $runs ] && ! goes_on $1 $runs; do
    number=$((number + 1))
    runs=$2-$number
  done
  $strobe study run $1 --out $runs
}

# Is the study in this folder unfinished, and the one of this file?
goes_on() {
  { [ ! -f $2/study.json ] ||
    $strobe study trials $2 --json | grep -q '"state": "\(missing\|unfinished\|stopped\|failed\)"'; } &&
    $strobe study run $1 --out $2 --plan > /dev/null 2>&1
}
