// Checkpoints: checkpoints/step_N/ with
//
//   model.safetensors      parameters under their own names, without padding: Hugging Face's GPT-2
//   optimizer.safetensors  <parameter>.state<i>; averages, <parameter>.<name>; <parameter>.value
//                          where the model is used with an average, which model.safetensors holds
//   state.json             progress, the checksums of the other two, and its own
//
// keep_best_weights() leaves of a finished run one model.safetensors with its state.json.
//
// A folder is written under a temporary name, fsynced and renamed, so one that has its name is
// whole. best.json names the one with the lowest validation loss or, of labelled texts, the
// best scores, and holds them.
#pragma once

#include <exception>
#include <functional>
#include <span>
#include <string>
#include <thread>

#include "strobe/core/param.h"
#include "strobe/io/safetensors.h"
#include "strobe/io/train_state.h"
#include "strobe/ops/backend.h"

namespace strobe {

/// Writes checkpoints from a snapshot, in the background.
class CheckpointWriter {
 public:
  /// `keep` newest checkpoints are kept beside the best one; 0: all. Those of later steps than the
  /// one saved last always go. Removes what a killed writer left behind.
  CheckpointWriter(std::string folder, int64_t keep);
  ~CheckpointWriter();

  /// Copies parameters and optimizer states, then returns; the files follow. Waits for the previous
  /// save, and throws the Error it met. Throws Error beforehand if the disk has too little room.
  void save(Backend& ops, std::span<Param* const> params, const TrainState& state);
  /// Returns when everything is on disk; throws the Error that the last save met.
  void wait();

 private:
  struct Snapshot;
  void write(const Snapshot& snapshot) const;
  void prune(const TrainState& state) const;

  std::string folder_;
  int64_t keep_;
  std::thread thread_;
  std::exception_ptr error_;
};

/// Size of one checkpoint on disk.
int64_t checkpoint_bytes(std::span<Param* const> params);

/// Throws Error if the disk has too little room for a checkpoint of this size in `folder`, which
/// need not be there yet.
void check_disk_room(const std::string& folder, int64_t bytes);

/// Whether there is a checkpoint, whole or damaged.
bool has_checkpoint(const std::string& folder);

/// Loads parameters and states from the newest checkpoint that is whole; damaged ones are passed
/// over, each with a word to `note`, and so are those whose tensors are not exactly the ones that
/// `params` have: names, shapes, states. Throws Error if there is none. Loads all or nothing of
/// one.
TrainState load_newest_checkpoint(const std::string& folder, Backend& ops,
                                  std::span<Param* const> params,
                                  const std::function<void(const std::string&)>& note);

/// Removes all but the weights of the best checkpoint, so that the run cannot go on, and whether
/// that was done.
void keep_best_weights(const std::string& folder);
bool has_weights_alone(const std::string& folder);

/// Path of the checkpoint that evaluated best; of the newest whole one if none was
/// evaluated.
std::string best_checkpoint(const std::string& folder);

/// The parameters' file of a checkpoint folder, its checksum verified.
SafetensorsFile open_weights(const std::string& checkpoint);

/// Loads the parameters of one checkpoint folder, checksums verified.
void load_weights(const std::string& checkpoint, Backend& ops, std::span<Param* const> params);

/// The same of an average that the run kept, "ema" or "lawa". Throws Error where it has none.
void load_average(const std::string& checkpoint, const std::string& name, Backend& ops,
                  std::span<Param* const> params);

}  // namespace strobe
