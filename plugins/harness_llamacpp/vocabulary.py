"""The vocabulary of `tiny`: byte-pair merges learnt, in a third of a second, from the words below.

GPT-2's scheme: text is bytes, each byte has a printable stand-in, and words are built from them by
merging the most frequent neighbours first. The words are ours, their frequencies fall like Zipf's
law, and ties are broken by the alphabet, so that every machine learns the same merges. English
prose, JSON and Markdown then come to about four characters a token, as with a real model.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from itertools import pairwise

__all__ = ["byte_alphabet", "learn", "printable"]


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Function words first (they are the frequent ones), then what benchmark reports talk about.
_WORDS = _split("""
the of and to in is that it was for on are as with be this by from at have or not an but which you
we they can has were their been one all there more when will would what if each other than then its
into no some so only two over also these most may such first use new time between after where many
before both any same how through about out up under while during per because should could must does
them our your my me he she his her who do did had being very even well just like make made way
system systems model models data value values number result results test tests run runs token tokens
second minute hour day week month year rate latency throughput memory server client request response
benchmark measure report analysis agent agents language stream chunk prompt context length size
batch thread process core cache load start end first last mean median average minimum maximum
percent quantile interval sample noise error warning failure success count total sum difference
compare baseline candidate change increase decrease improve performance quality cost energy power
file folder path name line column table row key list index field record format text string byte
network socket packet kernel clock stamp timer event queue pool worker task job schedule plan phase
config option parameter default setting version build release source code function method class
object type return call loop block branch state store read write open close send receive wait find
show explain describe summarise write list give take keep need want know think see say tell ask
answer question example reason cause effect problem solution method approach design structure part
level layer weight attention head width depth dimension vector matrix gradient loss train learn
embed decode encode sample generate predict evaluate score accuracy precision recall metric
hardware software device machine processor graphics driver bandwidth storage disk drive bus
temperature fan watt joule hertz gigabyte megabyte million thousand hundred zero four five six seven
eight nine ten high low large small long short fast slow early late good bad better best worse worst
true false null none unknown valid invalid empty full single multiple general special common main
important possible available different similar equal several certain clear simple complete recent
people person world life work place hand point government company group country water room mother
area money story fact right study book eye side kind house service friend father hour game member
law car city community president team idea body information nothing ago lead social understand
whether watch together follow parent around stop face anything create public already speak others
allow spend grow walk offer remember love consider appear buy serve die believe hold bring happen
provide sit stand lose pay meet include continue set play move live
able about above accept according account across action activity actually add address against agree
air almost alone along although always amount animal another appeal apply area argue arm arrive art
article assume attempt author avoid away base beat beautiful become begin behaviour behind benefit
beyond big bit black blue board border box boy break brief broad brother brown budget burn busy
camera campaign capital card care carry case catch central century chair challenge chance character
charge check child choice choose church citizen claim clean climb cold collect college colour come
commercial compute concern condition conference congress contain control copy corner correct country
couple course court cover crime culture cup current customer cut dark daughter dead deal death
debate decade decide deep defend degree deliver demand depend despite detail determine develop
dinner direct discover discuss disease doctor dog door down draw dream drink drop dry easy eat
economy edge education either election else employ enjoy enough enter entire environment especially
establish evening ever every evidence exactly exist expect experience expert express extra factor
fail fall family far farm fear federal feel few field fight figure fill film final finger finish
fire fish floor fly food foot force foreign forget form former forward free front future garden gas
girl glass goal gold great green ground growth guess gun hair half hang hard hear heart heat heavy
help here herself himself history hit home hope hospital hot hotel however huge human husband image
imagine impact indeed indicate individual industry inside instead institution interest international
interview investment involve issue item itself join jump judge key kill kitchen knowledge land laugh
lawyer lay leader least leave left leg legal less let letter lie light likely listen little local
look lot magazine maintain major majority manage management manner mark market marriage material
matter mean media medical mention message middle might military mind miss mission modern moment
morning mouth movement movie much music myself nation natural nature near necessary network never
news newspaper next nice night north note notice nuclear occur office officer official often oil
once open operation opportunity order organization outside own owner page pain painting paper
particular partner party pass past patient pattern peace perhaps period phone physical pick picture
piece player policy political poor popular population position positive pressure pretty prevent
price private probably produce production professional professor program project property protect
prove pull purpose push put quickly quite race radio raise range rather reach ready real reality
realize really receive recognize reduce reflect region relate relationship religious remain remove
represent require research resource respond rest reveal rich rise risk road rock role rule safe save
scene school science scientist sea season seat section security seek seem sell senior sense series
serious seven shake share shoot shot should shoulder sign significant simply since sing site
situation skill skin society soldier somebody someone something sometimes song soon sort sound south
southern space specific speech sport spring staff stage standard star statement station stay step
still stock strategy street strong student stuff style subject suddenly suffer suggest summer
support sure surface table talk tax teach technology television tend term thank theory thing third
those though thought threat three throughout throw thus today tonight top tough toward town trade
traditional travel treat treatment tree trial trip trouble truth try turn unit until upon usually
various victim view violence visit voice vote wall war wear weight west western whatever white
whole whose why wide wife wind window wish within without woman wonder word write wrong yard yeah
yes yet young yourself
""")

_ENDINGS = ("", "s", "ing", "ed")
_FUNCTION_WORDS = 120
"""So many of the first words take no endings."""

# What is not a word: pre-tokens of JSON, Markdown, tables and numbers.
_SIGNS = _split("""
" : - / . ' ( [ | = + * < > & ~ @ ": ", ," {" "} }, }} [{ }] {} [] "" () (" ") "), ): ); -> => ==
!= >= <= ... -- --- :// ** *** ## ### #### `` ``` || |- -| | |-- .. ., ?! !! ''
," :[ :{ |: %) %, %. $ (# <|
""")
_SPACES = ("\n\n", "\n\n\n", "  ", "   ", "    ", "      ", "        ", "\n ", "\n  ", "\n    ")


def byte_alphabet() -> list[str]:
    """256 characters, one per byte: the byte's own character where that is printable in Latin-1,
    otherwise the next one from U+0100 on (GPT-2's table)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in shown}
    hidden = (byte for byte in range(256) if byte not in table)
    table.update({byte: chr(0x100 + place) for place, byte in enumerate(hidden)})
    return [table[byte] for byte in range(256)]


def printable(token: str) -> bool:
    """True if the token stands for a newline or characters that a terminal shows as they are."""
    return all(0x21 <= ord(sign) <= 0x7E or sign in _SPACE_STAND_INS for sign in token)


def learn(merges: int) -> list[tuple[str, str]]:
    """The `merges` most useful merges, in the order in which they apply."""
    words, weights = _corpus()
    counts: Counter[tuple[str, str]] = Counter()
    homes: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for place, word in enumerate(words):
        _tally(counts, homes, place, word, weights[place])
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    learnt: list[tuple[str, str]] = []
    while heap and len(learnt) < merges:
        count, pair = heapq.heappop(heap)
        if count == 0 or counts[pair] != -count:
            continue  # stale: the pair was counted again since
        learnt.append(pair)
        touched: set[tuple[str, str]] = set()
        for place in sorted(homes[pair]):
            before, after = words[place], _merged(words[place], pair)
            touched.update(_tally(counts, homes, place, before, -weights[place]))
            touched.update(_tally(counts, homes, place, after, weights[place]))
            words[place] = after
        for changed in touched:
            heapq.heappush(heap, (-counts[changed], changed))
    return learnt


def _corpus() -> tuple[list[list[str]], list[int]]:
    """Words in stand-in characters, and how often each occurs."""
    frequency: Counter[str] = Counter()
    for rank, word in enumerate(dict.fromkeys(_WORDS)):
        weight = 2_000_000 // (rank + 8)
        for place, ending in enumerate(_ENDINGS if rank >= _FUNCTION_WORDS else _ENDINGS[:1]):
            stem = word.removesuffix("e") if ending in ("ing", "ed") else word
            frequency[f" {stem}{ending}"] += weight // (1 + 4 * place)
        frequency[word] += weight // 8
        frequency[word.capitalize()] += weight // 8
    for rank, sign in enumerate(_SIGNS):
        frequency[sign] += 40_000 // (rank + 1)
        frequency[" " + sign] += 20_000 // (rank + 1)
    for rank, space in enumerate(_SPACES):
        frequency[space] += 60_000 // (rank + 1)
    for number in range(100):
        frequency[f"{number:02}"] += 20_000 - number
    alphabet = byte_alphabet()
    words = [[alphabet[byte] for byte in text.encode()] for text in frequency]
    return words, list(frequency.values())


def _tally(
    counts: Counter[tuple[str, str]],
    homes: defaultdict[tuple[str, str], set[int]],
    place: int,
    word: list[str],
    weight: int,
) -> list[tuple[str, str]]:
    pairs = list(pairwise(word))
    for pair in pairs:
        counts[pair] += weight
        homes[pair].add(place)
    return pairs


def _merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for sign in word:
        if out and (out[-1], sign) == pair:
            out[-1] += sign
        else:
            out.append(sign)
    return out


_SPACE_STAND_INS = frozenset(byte_alphabet()[byte] for byte in (0x20, 0x0A))
