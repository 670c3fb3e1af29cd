"""What the libraries below complain about, told as our own errors are: one line, the key in it."""

import re

_SHORTER = (
    # jsonargparse lists every type that a value could have had, and the whole value.
    (r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: - ", ""),
    (r" - Expected a <class 'NoneType'>", ""),
    (r" Given value type: <class '\w+'> Given value: ([^\s{(]+)$", r". Got value: \1"),
    (r" Given value type: .*", ""),
    (r"Expected a typing\.Literal\[(.*?)\]", r"Expected one of \1"),
    (r"\.? Got value: Namespace\(.*", ""),
    (r"Type typing\.Callable\[.*?\] expects a function or a callable class: ", ""),
    (r"Problem with given class_path '(?:\w+\.)*(\w+)': ", r"\1: "),
    (r'Parser key "([^"]+)": (?:- )?', r"\1: "),
    (r"Expected a path but \S+ either not accessible or invalid - ", ""),
    (r"Expected a dot import path string: ", "there is no class "),
)


def plain(message: str) -> str:
    """A complaint of jsonargparse, Lightning or a DataLoader's worker, without its machinery."""
    if "Original Traceback" in message:
        # A worker's error comes with its traceback, the error itself last.
        return message.strip().splitlines()[-1].split(": ", 1)[-1]
    text = " ".join(message.split())
    for pattern, short in _SHORTER:
        text = re.sub(pattern, short, text)
    return text
