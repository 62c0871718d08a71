"""What each named detector looks for."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import regex

from gemma_guard.policy import Detector
from gemma_guard.scorers.finder import Finder, Place
from gemma_guard.scorers.keys import API_KEY, PRIVATE_KEY


def _iban(match: regex.Match[str]) -> Iterator[Place]:
    text, start, last = match.string, match.start(1), match.end(2)
    letters = [at for at in range(start, last) if text[at].isalnum()]
    length = _IBAN_LENGTHS.get(match[1].upper(), 0)
    if not 0 < length <= len(letters):
        return
    end = letters[length - 1] + 1
    iban = "".join(text[at] for at in letters[:length])
    if not _ALNUM.match(text, end) and _checks_mod_97(iban):
        yield start, end


def _checks_mod_97(iban: str) -> bool:
    """ISO 13616: the first four characters moved to the end, letters read as 10 to 35."""
    return int("".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])) % 97 == 1


def _card(match: regex.Match[str]) -> Iterator[Place]:
    """Every run of groups that is a card number, wherever in the match it ends."""
    if match[1] is None:  # groups of one, two or three digits, with no other number beside them
        if _is_card(match[0]):
            yield match.span()
        return
    text, start, last = match.string, match.start(), match.end(1)
    for group in _GROUP.finditer(text, start, last):
        end = group.end()
        if not _GOES_ON.match(text, end) and _is_card(text[start:end]):
            yield start, end
        if end - group.start() < _SHORTEST_GROUP:  # only a card's last group is this short
            return


def _is_card(number: str) -> bool:
    digits = number.replace(" ", "").replace("-", "")
    return _ISSUERS.fullmatch(digits) is not None and _checks_luhn(digits)


def _checks_luhn(digits: str) -> bool:
    odd, even = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(_DOUBLED[int(digit)] for digit in even)) % 10 == 0


def _ipv4(match: regex.Match[str]) -> Iterator[Place]:
    if _is_ip_address(match[0]):
        yield match.span()


def _ipv6(match: regex.Match[str]) -> Iterator[Place]:
    text, start, end = match.string, match.start(1), match.end()
    if text[end - 1] == ":" != text[end - 2]:  # the colon of the sentence
        end -= 1
    address = text[start:end]
    # With a digit somewhere, for `Bad::Face` is a name in a program.
    if _GROUP.search(address) and _is_ip_address(address):
        yield start, end


def _is_ip_address(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


_SHORTEST_GROUP = 4
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_GROUP = regex.compile(r"[0-9]+")
_GOES_ON = regex.compile(r"[0-9A-Za-z_]|[.,][0-9]")
_ALNUM = regex.compile(r"[0-9A-Za-z]")

# In this order: Visa, Mastercard, American Express and UATP, Diners Club, Mir, JCB, then Discover,
# Maestro, UnionPay, RuPay and others that begin with 5 or 6, and those that begin with 8.
_ISSUERS = regex.compile(
    r"""
      4[0-9]{12} (?:[0-9]{3}){0,2}
    | (?: 5[1-5][0-9]{2} | 222[1-9] | 22[3-9][0-9] | 2[3-6][0-9]{2} | 27[01][0-9] | 2720 ) [0-9]{12}
    | (?: 3[47][0-9] | 1[0-9]{2} ) [0-9]{12}
    | 3 (?: 0[0-59] | [689][0-9] ) [0-9]{11,16}
    | 220[0-4] [0-9]{12,15}
    | 35 (?: 2[89] | [3-8][0-9] ) [0-9]{12,15}
    | (?: 50 | 5[6-8] | 6[0-9] ) [0-9]{11,17}
    | 8[12] [0-9]{14,17}
    """,
    regex.VERBOSE,
)

# A number may stand right between the letters of a script without spaces, so only ASCII counts as
# glued to it. What follows a decimal point or comma is a fraction.
#
# Here and in `phones`, a pattern consumes a digit first and looks behind it after that: so `regex`
# skips from digit to digit, and text without any costs next to nothing.
_CARD = regex.compile(
    r"""
    [0-9] (?<! [0-9A-Za-z_][0-9] | [0-9][.,][0-9] ) (?= (?: [ -]?[0-9] ){12} )
    (?:
      (?= [0-9]{3,18}+ (?![0-9]) ( (?: [ -][0-9]{1,19}+ (?![0-9]) ){0,4} ) ) [0-9]++
    | (?<! [0-9][ -][0-9] )
      (?:           (?: [ -][0-9] ){12,18}+
        | [0-9]     (?: [ -][0-9]{2} ){5,8}+  (?: [ -][0-9] )?+
        | [0-9]{2}  (?: [ -][0-9]{3} ){3,5}+  (?: [ -][0-9]{1,2} )?+
      ) (?! [\ .,-]?[0-9] | [A-Za-z_] )
    )
    """,
    regex.VERBOSE,
)

# Searched for from its check digits on, for digits are rarer than letters.
_IBAN = regex.compile(
    r"""
    [0-9]{2} (?<= (?<! [0-9A-Za-z_] ) ( [A-Za-z]{2} ) [0-9]{2} )
    (?= ( (?: [ \u00a0-]?[0-9A-Za-z] ){11,29}+ ) )
    """,
    regex.VERBOSE,
)
_COUNTRY = regex.compile(r"[A-Za-z]{1,2}\Z")
_IBAN_COUNTRIES = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18
    DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23
    IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27
    MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19
    SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
_IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN_COUNTRIES.split()}

# Letters of scripts that put spaces between words may be part of an address; of the others we
# cannot tell where the sentence ends and the address begins, so there only ASCII is.
_EMAIL = regex.compile(
    r"""
    (?<! [A-Za-z0-9_] | [\p{L}\p{N}--\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}] )
    [[_\p{L}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}]]
    [[_.%+'\p{L}\p{N}-]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}]]{0,63}+
    @ (?! [0-9]x\. )                                  # picture@2x.png
    (?: [\p{L}\p{N}] (?: [\p{L}\p{N}-]{0,61}[\p{L}\p{N}] )? \. ){1,8}
    (?: xn--[A-Za-z0-9-]{1,59} | [A-Za-z]{2,63} (?![A-Za-z0-9]) | \p{L}{2,63} (?![\p{L}\p{N}]) )
    """,
    regex.VERBOSE | regex.VERSION1,
)

_IPV4 = regex.compile(r"(?<![0-9A-Za-z_.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}+(?!\.?[0-9A-Za-z_])")
# Searched for from its first colon on, for colons are rarer than what stands before them.
_IPV6 = regex.compile(
    r"""
    : (?<= (?<! [0-9A-Za-z_:.] ) ( [0-9A-Fa-f]{0,4} ) : )
    (?: [0-9A-Fa-f]{0,4} : ){1,7}+
    (?: [0-9A-Fa-f]{1,4} (?: \.[0-9]{1,3} ){0,3} )?+
    (?! [0-9A-Za-z_:] | \.[0-9A-Za-z_] )
    """,
    regex.VERBOSE,
)
_HEXTET = regex.compile(r"[0-9A-Fa-f]{1,4}\Z")

_FINDERS: dict[str, tuple[Finder, ...]] = {
    "api_key": (Finder("api_key", API_KEY),),
    "email": (Finder("email", _EMAIL, needs="@"),),
    "iban": (Finder("iban", _IBAN, _iban, behind=_COUNTRY),),
    "ip_address": (
        Finder("ip_address", _IPV4, _ipv4, needs="."),
        Finder("ip_address", _IPV6, _ipv6, needs=":", behind=_HEXTET),
    ),
    "payment_card": (Finder("payment_card", _CARD, _card),),
    "private_key": (Finder("private_key", PRIVATE_KEY, needs="-----BEGIN "),),
}


def finders(detector: Detector, *, regions: tuple[str, ...] = ()) -> tuple[Finder, ...]:
    """What `detector` looks for. `ConfigError` for a region `phonenumbers` does not know."""
    if detector == "phone":
        # Only here: `phonenumbers` takes as long to import as the rest of the core.
        from gemma_guard.scorers.phones import phone_finders  # noqa: PLC0415

        return phone_finders(regions)
    return _FINDERS[detector]
