"""The arguments of a Hydra command, before Hydra reads them: flags, renamed settings, texts that look like numbers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import chain

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from textgen.common import cli
from textgen.common.data_folders import CONF
from textgen.common.errors import UserError

# Hydra's own flags, those that take a value first.
FLAGS_WITH_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c"),
    *("--info", "-i"),  # not --experimental-rerun: it reads a pickle, which can be any program
)
WORDS = {  # that a flag takes
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
}
FLAGS = ("--multirun", "-m", "--run", "-r", "--resolve", "--hydra-help", "--shell-completion", "-sc")
GROUPS = tuple(sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml"))))
# The settings of all commands that are paths.
PATHS = (
    "annotate",
    "corrections",
    "crops",
    "data",
    "data_dir",
    "dataset",
    "detector",
    "file",
    "labels",
    "names",
    "original",
    "out",
    "path",
    "plots",
    "real",
    "real_test",
    "reference",
    "regions",
    "run",
    "runs",
    "source",
    "start",
    "teacher",
)
# Settings of these names that are no paths, by command: a number of crops, and seconds.
NO_PATHS = {"evaluate": ("crops",)} | dict.fromkeys(
    ("adapt", "cascade", "cut", "label_video", "predict", "regions"), ("start",)
)


def prepare(arguments: Sequence[str], config: str, renamed: Mapping[str, str]) -> list[str]:
    """The arguments of the command of conf/<config>.yaml as Hydra takes them: flags first, settings with today's names.

    The value of a group is a file's name and that of `PATHS` a path: what Hydra would read as a number, as true or as
    null, such as game=2048, is quoted, and so is a path with special characters. Raises `UserError` for a setting that
    Hydra cannot read.
    """
    flags, settings = _split(with_new_names(arguments, renamed))
    settings = list(chain.from_iterable(map(_name_module, settings)))
    prepared = []
    for at, setting in enumerate(settings):
        key, equal, value = setting.partition("=")
        group, is_path = key.lstrip("+~"), key in PATHS and key not in NO_PATHS.get(config, ()) and equal
        if group in GROUPS and key[0] == "~" and group not in _optional_groups(config):
            raise UserError(f"{setting}: {group} cannot be left out; give {group}=…")
        if equal and group in GROUPS:
            if value == "null" and key in _optional_groups(config):
                continue  # which is the default
            setting = f"{key}={_quote_items(value, (bool, int, float, type(None)))}"  # noqa: PLW2901
        elif is_path:
            setting = f"{key}={_quote_items(value, (int, float))}"  # noqa: PLW2901
        try:
            chosen = OverridesParser.create().parse_override(setting).value()
            if not group:
                raise HydraException
            if group in GROUPS and isinstance(chosen, list) and not all(isinstance(name, str) for name in chosen):
                raise UserError(
                    f"{setting}: a list of files has names, in quotes where they look like numbers or words"
                )
        except HydraException as error:
            if not is_path or value.startswith("[") or re.search("['\"…]", value):
                raise UserError(_describe_unreadable(settings[at:], str(error))) from None
            setting = f"{key}={quote(value)}"  # noqa: PLW2901
        prepared.append(setting)
    return flags + prepared


def with_new_names(arguments: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Settings with today's names: recipe.average=0.9 -> recipe.ema_decay=0.9. Prints a line for each."""
    current = []
    for argument in arguments:
        match = re.match(r"([+~]*)([\w.]+)(?==|$)", argument)
        if match and match[2] in renamed:
            cli.print_renamed(match[2], renamed[match[2]])
            argument = f"{match[1]}{renamed[match[2]]}{argument[match.end() :]}"  # noqa: PLW2901
        current.append(argument)
    return current


def find_choices(arguments: Sequence[str]) -> dict[str, str]:
    """The files that prepared arguments choose, by group: {"game": "sot_time"}."""
    choices = {}
    for argument in arguments:
        if argument.partition("=")[0] in GROUPS:
            override = OverridesParser.create().parse_override(argument)
            if isinstance(name := override.value(), str):
                choices[override.key_or_group] = name
    return choices


def find_config_folders(arguments: Sequence[str]) -> list[str]:
    """The folders of --config-dir, --config-path and hydra.searchpath."""
    folders = []
    for at, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--config-dir", "-cd", "--config-path", "-cp"):
            folders.append(value or "".join(arguments[at + 1 : at + 2]))
        elif name == "hydra.searchpath" and isinstance(
            given := OverridesParser.create().parse_override(argument).value(), list
        ):
            folders += [str(folder).removeprefix("file://") for folder in given if "pkg://" not in str(folder)]
    return folders


def quote(text: str) -> str:
    """A text in quotes, as Hydra takes it for a value.

    >>> quote("a=b")
    '"a=b"'
    """
    return QuotedString(text, Quote.double).with_quotes()


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags with their values, and settings: Hydra takes settings only without flags between them."""
    flags, settings, rest = [], [], iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if not argument.startswith("-"):
            settings.append(argument)
        elif name in FLAGS_WITH_VALUE:
            given = value or next(rest, "")
            if not given and name not in ("--info", "-i"):
                raise UserError(f"{name} takes a value: {name}=…")
            if given and name in WORDS and given not in WORDS[name]:
                raise UserError(f"{name}={given}: {name} takes one of {', '.join(WORDS[name])}")
            flags.append(f"{name}={given}" if given else name)
        elif name in FLAGS:
            flags.append(argument)
        else:
            raise UserError(
                f"there is no option {argument}: settings have no dashes, such as fold=4; --help lists them"
            )
    return flags, settings


def _name_module(setting: str) -> list[str]:
    """network=my.module:Net, which is no file of the group: the file `own`, and the module's name in it.

    Raises `UserError` for a sweep over both.
    """
    match = re.fullmatch(r"network=['\"]?([\w.]+:\w+(,[\w.]+:\w+)*)['\"]?", setting)  # several are a sweep
    if not match and re.fullmatch(r"network=(.*,)?[\w.]+:\w+(,.*)?", setting):
        raise UserError(f"{setting}: a sweep is over modules, or over files of conf/network: give two commands")
    return ["network=own", f"network.module={','.join(map(quote, match[1].split(',')))}"] if match else [setting]


def _optional_groups(config: str) -> list[str]:
    """The groups without a file, unless one is given."""
    text = (CONF / f"{config}.yaml").read_text(encoding="utf-8")
    return re.findall(r"^  - optional (\w+): null", text, re.MULTILINE)


def _quote_items(value: str, types: tuple[type, ...]) -> str:
    """Quote the value, or the values of a sweep, that Hydra reads as one of `types`.

    >>> _quote_items("2048,sot_time,1e3", (int, float))
    '"2048",sot_time,"1e3"'
    """
    if not re.fullmatch(r"[\w.+-]+(,[\w.+-]+)*", value):
        return value
    return ",".join(quote(item) if _reads_as(item, types) else item for item in value.split(","))


def _reads_as(value: str, types: tuple[type, ...]) -> bool:
    """Whether Hydra reads a value as one of `types`, or not at all."""
    try:
        return type(OverridesParser.create().parse_override(f"key={value}").value()) in types
    except HydraException:
        return True


def _describe_unreadable(settings: Sequence[str], message: str) -> str:
    """The message for the first of `settings`, with the right form; Hydra's `message` is used where it has a reason."""
    setting = settings[0]
    key, equal, value = setting.partition("=")
    if not key.strip("+~") or not equal or not _is_readable(f"{key}=0"):
        return (
            f"{setting!r} is no setting: write key=value, such as game=sot_time, with quotes around a value with spaces"
        )
    joined = (" ".join(settings[:end]) for end in range(2, len(settings) + 1))  # a list that the shell has split
    function = re.search(r"while evaluating '.*': (.+)", message)
    if "…" in setting:
        why = "… stands for a name of your own, such as that of a run's folder"
    elif whole := next(filter(_is_readable, joined), None):
        why = f"a value with spaces takes quotes: {shlex.quote(whole)}"
    elif "${" in value:
        text = quote(value.replace("${", "\\${"))
        why = f"${{…}} stands for another setting; for the text itself write {shlex.quote(f'{key}={text}')}"
    elif function and "Unknown function" not in function[1]:
        why = function[1]
    elif re.fullmatch(r"\[.*\]", value) and _is_readable(right := f"{key}=[{_quote_list(value[1:-1])}]"):
        why = f"texts with special characters take quotes within quotes: {shlex.quote(right)}"
    else:
        right = shlex.quote(f"{key}={quote(value)}")
        why = f"a text with special characters takes quotes within quotes: {right}"
        if unclosed := next(
            (first for first, last in ("[]", "{}", "()") if value.count(first) > value.count(last)), ""
        ):
            why = f"{unclosed!r} is never closed; {why}"
        elif function:
            why = f"{function[1]}; {why}"
    return f"cannot read {setting!r}: {why}"


def _quote_list(items: str) -> str:
    """Quote the items of a list that Hydra cannot read; commas within brackets do not separate."""
    parts = re.split(r",\s*(?![^\[\]]*\])", items)
    return ",".join(part if _is_readable(f"key=[{part}]") else quote(part) for part in parts)


def _is_readable(setting: str) -> bool:
    try:
        OverridesParser.create().parse_override(setting)
    except HydraException:
        return False
    return True
