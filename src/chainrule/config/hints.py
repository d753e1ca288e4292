"""What to write for a word of another library, or one that is misspelt.

A name stands for one of chainrule's where it means exactly the same. Where it does not,
as Keras's "binary_crossentropy", which takes probabilities, the error says what to
write. Read by `chainrule.config.checks` and `explain`, and only where something is not
understood.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from chainrule.config.words import ADVICE, ALIASES, ATTRIBUTES, KEYWORDS, METHODS

__all__ = [
    "canonical",
    "explain_attribute",
    "explain_data",
    "explain_keyword",
    "explain_name",
    "explain_object",
    "letters",
]


def letters(name: str) -> str:
    """Return a name without what spellings differ in: case, dashes, spaces, dots."""
    return "".join(c for c in name.lower() if c not in "_- .")


def canonical(kind: str, word: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `word` spells otherwise, or stands for."""
    if kind not in ALIASES or word.lower() in ADVICE[kind]:
        return None
    spelled = {letters(alias): name for alias, name in ALIASES[kind].items()}
    known = {letters(name): name for name in names}
    name = spelled.get(letters(word), "")
    return known.get(letters(word)) or known.get(letters(name))


def explain_name(kind: str, word: str, names: Iterable[str]) -> str:
    """Return a sentence, after a space, for a name that is not one of `names`."""
    texts = {letters(alias): text for alias, text in ADVICE.get(kind, {}).items()}
    text = texts.get(letters(word)) or texts.get(letters(word).removesuffix("loss"))
    if text:
        return f" {text}."
    if kind:
        word = word.lower()
    close = difflib.get_close_matches(word, list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def explain_keyword(owners: Iterable[str], word: str, names: Iterable[str]) -> str:
    """Return what to write for a keyword that a class or function does not have."""
    for owner in owners:
        if word in KEYWORDS.get(owner, {}):
            return KEYWORDS[owner][word]
    close = difflib.get_close_matches(word, list(names), n=1)
    if close:
        return f"did you mean {close[0]}=?"
    names = [f"{name}=" for name in names]
    return f"it takes {', '.join(names)}" if names else "it takes none"


def explain_attribute(
    owner: str, word: str, names: Iterable[str], table: str = ""
) -> str:
    """Return the message for an attribute that is not there."""
    msg = f"{owner} has no attribute {word!r}"
    text = METHODS.get(word) if table == "methods" else ATTRIBUTES.get(word)
    if text:
        return f"{msg}; {text}." if table == "methods" else f"{msg}; take {text}."
    public = [name for name in names if not name.startswith("_")]
    close = difflib.get_close_matches(word, public, n=1)
    return f"{msg}. Did you mean {close[0]!r}?" if close else f"{msg}."


# First part of the module of an object's class -> whose it is.
_PEERS = {
    "torch": "PyTorch",
    "keras": "Keras",
    "tensorflow": "TensorFlow",
    "tf_keras": "Keras",
    "jax": "JAX",
    "flax": "Flax",
    "optax": "Optax",
    "equinox": "Equinox",
    "haiku": "Haiku",
    "sklearn": "scikit-learn",
    "skorch": "skorch",
}


_FUNCTIONS = {"relu", "tanh", "sigmoid", "softmax", "gelu", "elu", "silu", "swish"}


def explain_object(value: Any) -> str:
    """Return a sentence, after a space, on what an object of the wrong kind is."""
    if isinstance(value, type):
        if value.__module__.split(".")[0] == "chainrule":
            return f" Write {value.__name__}(...)."
        if value.__module__.split(".")[0] in _PEERS:
            return f" It is a class of {_PEERS[value.__module__.split('.')[0]]}'s."
        return " It is a class; hand in an object."
    for cls in type(value).__mro__:
        peer = _PEERS.get(cls.__module__.split(".")[0])
        if peer is not None:
            return f" It is one of {peer}'s; take chainrule's own instead."
    if isinstance(value, str) and letters(value) in _FUNCTIONS:
        return " An activation is a layer: Sequential(Dense(8), Tanh(), Dense(1))."
    if isinstance(value, (list, tuple)) and value and hasattr(value[0], "forward"):
        return " Join layers: chainrule.Sequential(*layers)."
    return ""


_CHUNKS = (
    " x and y are arrays; what gives batches (x, y) is handed in alone: "
    "model.fit(batches)."
)


def explain_data(value: Any = None) -> str:
    """Return a sentence, after a space, on what was handed in for arrays."""
    if isinstance(value, dict):
        return " Join its arrays: numpy.column_stack(list(x.values()))."
    homes = [cls.__module__ for cls in type(value).__mro__]
    if any(home.startswith(("torch.utils.data", "tensorflow")) for home in homes):
        return _CHUNKS
    if hasattr(value, "__next__") or hasattr(value, "take"):
        return _CHUNKS if not hasattr(value, "dtype") else ""
    if hasattr(value, "__iter__") and not hasattr(value, "__len__"):
        return _CHUNKS
    return ""
