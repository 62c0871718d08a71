"""Phone numbers: cheap patterns find candidates, `phonenumbers` says which of them are in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

import phonenumbers
import regex

from gemma_guard.errors import ConfigError
from gemma_guard.scorers.finder import Finder, Place


def phone_finders(regions: tuple[str, ...]) -> tuple[Finder, ...]:
    """International numbers anywhere, and the national ones of `regions`."""
    unknown = sorted(set(regions) - phonenumbers.SUPPORTED_REGIONS)
    if unknown:
        raise ConfigError(f"unknown regions {', '.join(unknown)}; use ISO 3166 codes such as US")
    abroad = Finder("phone", _INTERNATIONAL, partial(_longest, test=_is_international), "+", _OPENS)
    if not regions:
        return (abroad,)
    is_national = partial(_is_national, regions)
    return (abroad, Finder("phone", _NATIONAL, partial(_longest, test=is_national), behind=_OPENS))


def _longest(match: regex.Match[str], *, test: Callable[[str], bool]) -> Iterator[Place]:
    """The longest run of groups of digits, from the start of the match, that is a number."""
    text, start, last = match.string, match.start(), match.end(1)
    for end in reversed([group.end() for group in _GROUP.finditer(text, start, last)]):
        opens = text[start - 1 : start] == "(" and ")" in text[start:end]
        if not text[end : end + 1].isdigit() and test(text[start - opens : end]):
            yield start - opens, end
            return


def _is_international(number: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False


def _is_national(regions: tuple[str, ...], number: str) -> bool:
    """Whether `number` is valid, and in groups as people of one of `regions` write it."""
    digits = "".join(_GROUP.findall(number))
    possible = [region for region in regions if _shape(region).fullmatch(digits)]
    return (
        bool(possible)
        and not _DATE.search(number)
        and any(
            match.end - match.start == len(number)
            for region in possible
            for match in phonenumbers.PhoneNumberMatcher(number, region, _STRICT)
        )
    )


@cache
def _shape(region: str) -> regex.Pattern[str]:
    """The digits a number of `region` may have. Rules out most candidates at little cost."""
    known = phonenumbers.PhoneMetadata.metadata_for_region(region)
    if not known or not known.general_desc or known.national_prefix_transform_rule:
        return _GROUP
    trunk = known.national_prefix_for_parsing or ""
    return regex.compile(f"(?:{trunk})?(?:{known.general_desc.national_number_pattern})|00.+|011.+")


_STRICT = phonenumbers.Leniency.STRICT_GROUPING
_GROUP = regex.compile(r"[0-9]+")
_OPENS = regex.compile(r"\(\Z")
_DATE = regex.compile(
    r"(?<![0-9])(?:(?:19|20)[0-9]{2}([-/.])[0-9]{1,2}\1[0-9]{1,2}"
    r"|[0-9]{1,2}([-/.])[0-9]{1,2}\2(?:19|20)[0-9]{2})(?![0-9])"
)
_INTERNATIONAL = regex.compile(
    r"""
    \+ (?<! [0-9A-Za-z_+]\+ )
    (?= ( [\ (]?[0-9] (?: [\ ().\-/\u00a0\u2011]{0,3}+ [0-9] ){6,16}+ ) )
    """,
    regex.VERBOSE,
)
_NATIONAL = regex.compile(
    r"""
    [0-9] (?<! [0-9A-Za-z_+][0-9] | [0-9][.,:/-][0-9] | [0-9]\([0-9] )
    (?= ( [0-9]{0,16}+ (?: [\ ().\-/\u00a0\u2011]{1,2}+ [0-9]{2,16}+ ){0,6}+ ) )
    (?= (?: [^0-9]{0,2}[0-9] ){6} )
    [0-9]*+
    """,
    regex.VERBOSE,
)
