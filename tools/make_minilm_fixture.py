"""Writes tests/data/minilm.safetensors: fifty texts, what transformers' BertModel makes of them (embeddings: the mean of the
last layer's rows, of length 1), and the logits of a BertForSequenceClassification with the classifier that is beside
them. The weights are those of tools/fetch_minilm.py. Needs torch, transformers and safetensors.
usage: make_minilm_fixture.py MODEL_FOLDER OUT"""
import json
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, BertForSequenceClassification

SINGLES = """The river ran by the mill where the rain went on.
A stream flowed past the mill in the rain.
The committee will publish its report on Thursday.
She bought three tickets for the evening concert.
Prices rose by 2.5 % in the last quarter.
Yes.
a
!
Café, naïve, Ångström: accents that the normaliser takes off.
Übergrößenträger müssen draußen warten.
東京は日本の首都です。
Москва — столица России.
الطقس جميل اليوم
한국어 문장입니다.
Emoji 🙂 are no words of this vocabulary.
https://example.org/path?query=1&other=2#part
e-mail me at someone@example.org, please
The year 1984 had 366 days; 1985 had 365.
x = (a + b) * c / d - e
for (int i = 0; i < n; ++i) sum += a[i];
It wasn't the dog's fault -- it couldn't've known.
antidisestablishmentarianism
supercalifragilisticexpialidocious floccinaucinihilipilification
The quick brown fox jumps over the lazy dog.
THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG.
word word word word word word word word word word
[MASK] is written here as it stands, and [SEP] too.
To be, or not to be, that is the question.
A gripping, funny and beautifully filmed story.
A dull, endless mess that wastes good actors.
He gave her the book that his father had written.
Her the gave he written had father his that book.
How many people live in Kraków?
Kraków has 804,237 inhabitants.
Stocks fell sharply after the bank's announcement.
Shares dropped steeply when the bank spoke.
Water boils at 100 °C (212 °F) at sea level.
 spaces   and	tabs  between   words 
soft­hyphen and zero​width
...""".split("\n")
PAIRS = [
    ("A man is playing a guitar.", "Someone plays an instrument."),
    ("A man is playing a guitar.", "A woman is slicing an onion."),
    ("The cat sat on the mat.", "The mat was sat on by the cat."),
    ("No one attended the meeting.", "The meeting was well attended."),
    ("What is the capital of Peru?", "Lima is the capital and largest city of Peru."),
    ("What is the capital of Peru?", "Potatoes were first grown in the Andes."),
    ("", "Only the second is a text."),
    ("Short.", "word " * 60),
    ("word " * 60, "Short."),
    ("The company posted a profit of $1.2 billion.", "The firm reported a loss of 1.2 billion dollars."),
]
folder, out = sys.argv[1:3]
texts = [(s, "") for s in SINGLES] + [p for p in PAIRS if p[0]] + [("long " * 100, "")]
assert len(texts) == 50, len(texts)
torch.manual_seed(7)
tokenizer = AutoTokenizer.from_pretrained(folder)
model = BertForSequenceClassification.from_pretrained(folder, num_labels=3).eval().float()
torch.nn.init.normal_(model.classifier.weight, std=0.2)
torch.nn.init.normal_(model.classifier.bias, std=0.2)
embeddings, logits = [], []
with torch.no_grad():
    for first, second in texts:
        ids = tokenizer(first, second or None, return_tensors="pt", split_special_tokens=True)
        mean = model.bert(**ids).last_hidden_state[0].mean(0)
        embeddings.append(mean / mean.norm())
        logits.append(model(**ids).logits[0])
tensors = {"embeddings": torch.stack(embeddings), "logits": torch.stack(logits),
           "classifier.weight": model.classifier.weight.detach().contiguous(), "classifier.bias": model.classifier.bias.detach()}
save_file(tensors, out, metadata={"texts": json.dumps(texts)})
