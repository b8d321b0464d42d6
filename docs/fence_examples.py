"""A hook of the API pages: docstrings as Markdown, doctests as code."""

import re
import textwrap
from typing import Any

import griffe

_HEADING = re.compile(r"^[ ]*Example:\n", re.M)
_DOCTEST = re.compile(r"^(?P<in>[ ]*)>>> .*(?:\n(?P=in).*\S.*)*", re.M)
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


class FenceExamples(griffe.Extension):
    """Puts a fence around each doctest, without which Markdown reads it as quotations and links."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        if obj.docstring:
            text = _ROLE.sub(r"`\1`", _HEADING.sub("", obj.docstring.value)).replace("::\n", ":\n")
            obj.docstring.value = _DOCTEST.sub(_fenced, text)


def _fenced(doctest: re.Match[str]) -> str:
    return f"```pycon\n{textwrap.dedent(doctest[0])}\n```"
