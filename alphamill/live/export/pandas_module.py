"""A factor as a Python module over numpy and pandas: `factor(frame)`.

No text of a model or a person becomes code: every line is made from the parsed tree, whose names
are the language's own, and what is known of the factor stands there as literals.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterator, Sequence

import alphamill
from alphamill.errors import FactorError
from alphamill.factors import OPERATORS
from alphamill.factors.fields import is_as_sent
from alphamill.factors.nodes import expand
from alphamill.factors.operators import Kind
from alphamill.factors.printer import to_text
from alphamill.factors.syntax import Call, Field, Group, Node, Number, walk
from alphamill.frames import KLINE_FIELDS
from alphamill.live.export.source import carried, definitions
from alphamill.live.export.what import Exported

_VWAP = ("high", "low", "close", "quote_volume", "volume")
_TIES = frozenset({"rank", "quantile", "group_rank", "ts_rank", "ts_rank_corr"})
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_WIDTH = 100

_DOC = '''"""A factor mined with alphamill, in numpy and pandas alone: `factor(frame)`.

frame: klines, one row a bar and symbol, with the columns symbol, open_time and those of COLUMNS; or
a mapping from column to a frame (open times x symbols). Bars must be closed, and every symbol that
counts for ranks must be there. Bars that are missing are put in, without values. Of the result, a
frame (open times x symbols), the first LOOKBACK_BARS rows are NaN; with them in front, a row is the
same wherever the frame begins. Values agree with alphamill's to rounding, not to the bit.
"""'''


def function_name(operator: str) -> str:
    """The name of the operator's function in `plain`."""
    taken = keyword.iskeyword(operator) or hasattr(builtins, operator)
    return f"{operator}_" if taken else operator


def columns_read(exported: Exported) -> tuple[str, ...]:
    """Columns that the exported function needs of its frame, klines' first, in order."""
    names = set(_fields(expand(exported.factor.tree, {})))
    klines = [name for name in KLINE_FIELDS if name in names]
    return (*klines, *sorted(names.difference(klines)))


def given_columns(exported: Exported) -> tuple[str, ...]:
    """Those among them that no kline holds: indicators, which the caller must bring."""
    return tuple(name for name in columns_read(exported) if name not in KLINE_FIELDS)


def pandas_text(exported: Exported) -> str:
    """The module's source. Raises FactorError naming an operator that cannot be exported."""
    imports, parts = module_parts(exported)
    return "\n".join([_DOC, "", *imports, "", *parts]) + "\n"


def module_parts(exported: Exported) -> tuple[list[str], list[str]]:
    """(imports, blocks with blank lines between) of what computes the factor."""
    tree = expand(exported.factor.tree, {})
    used = {function_name(node.name) for node in walk(tree) if isinstance(node, Call)}
    _check_known(tree)
    if any(isinstance(node, Field) and node.name == "vwap" for node in walk(tree)):
        used.add("vwap")
    if any(isinstance(node, Group) for node in walk(tree)):
        used.add("labels_of")
    imports, functions = carried("plain", [*used, "wide", "np", "pd", "Any"])
    parts = [*_constants(exported), "", ""]
    assignments = [text for text in functions if not text.startswith(("def ", "class "))]
    parts += [*assignments, "", ""]
    for text in functions:
        if text not in assignments:
            parts += [text, "", ""]
    return ["from __future__ import annotations", "", *imports], [*parts, *_function(tree)]


def _constants(exported: Exported) -> Iterator[str]:
    factor = exported.factor
    given = given_columns(exported)
    stated: dict[str, object] = {
        "EXPRESSION": factor.text,
        "HASH": factor.hash,
        "ALPHAMILL_VERSION": alphamill.__version__,
        "LIVE": exported.live,
        "RUN": exported.run,
        "VERDICT": exported.verdict,
        "INTERVAL": exported.interval.value if exported.interval else "",
        "HORIZON_BARS": exported.horizon_bars,
        "LOOKBACK_BARS": factor.lookback_bars,
        "COLUMNS": columns_read(exported),
    }
    if exported.band:
        stated["BAND"] = exported.band  # no trade within so many average positions of the target
    if given:
        yield "# Indicators, which the frame must bring as columns; `alphamill operators` says"
        yield "# what each is. They need bars of their own before LOOKBACK_BARS."
        yield f"GIVEN_COLUMNS = {given!r}"
    for name, value in stated.items():
        yield f"{name} = {value!r}"


def _check_known(tree: Node) -> None:
    known = definitions("plain")
    for node in walk(tree):
        if isinstance(node, Field | Group) and not _NAME.fullmatch(node.name):
            raise FactorError(f"the name {node.name!r} cannot be exported")
        if isinstance(node, Call) and function_name(node.name) not in known:
            raise FactorError(f"the operator '{node.name}' cannot be exported")


def _fields(tree: Node) -> Iterator[str]:
    for node in walk(tree):
        if isinstance(node, Field):
            yield from _VWAP if node.name == "vwap" else (node.name,)


def _function(tree: Node) -> Iterator[str]:
    yield "def factor(frame: Any, groups: Any = None) -> pd.DataFrame:"
    if any(isinstance(node, Group) for node in walk(tree)):
        yield '    """The factor\'s values. groups: {group table: {symbol: label}}."""'
    else:
        yield '    """The factor\'s values (open times x symbols); groups are not used."""'
    yield "    fields, times, symbols = wide(frame, COLUMNS)"
    yield '    with np.errstate(all="ignore"):'
    names: dict[Node, str] = {}
    for line in _steps(tree, names):
        yield f"        {line}"
    yield f"        values = np.array({names[tree]}, dtype=np.float64)"
    yield "    values[:LOOKBACK_BARS] = np.nan"
    yield "    return pd.DataFrame(values, index=times, columns=symbols)"


def _steps(node: Node, names: dict[Node, str]) -> Iterator[str]:
    """A line a node, what it is made of first; what occurs twice is computed once."""
    if node in names or isinstance(node, Number):
        return
    if isinstance(node, Call):
        for arg in node.args:
            yield from _steps(arg, names)
    name = f"v{len(names) + 1}"
    if isinstance(node, Call):
        line = f"{name} = {function_name(node.name)}({', '.join(_arguments(node, names))})"
        said = f"  # {to_text(node)}"
        line += said if len(line) + len(said) + 8 <= _WIDTH else ""
    elif isinstance(node, Group):
        line = f"{name} = labels_of(groups, {node.name!r}, symbols)"
    elif isinstance(node, Field) and node.name == "vwap":
        line = f"{name} = vwap(fields)"
    else:
        line = f"{name} = fields[{node.name!r}]"
    names[node] = name
    yield line


def _arguments(node: Call, names: dict[Node, str]) -> list[str]:
    params = OPERATORS[node.name].params
    series = [arg for arg in node.args if not isinstance(arg, Number | Group)]
    texts = [
        _literal(arg.value, param.kind) if isinstance(arg, Number) else names[arg]
        for param, arg in zip(params, node.args, strict=False)
    ]
    texts += [_literal(param.default or 0.0, param.kind) for param in params[len(texts) :]]
    return texts + _ties(node.name, series)


def _ties(name: str, series: Sequence[Node]) -> list[str]:
    """How near values tie, an argument a series that is ranked: exactly, or within rounding."""
    if name not in _TIES:
        return []
    return ["0.0" if is_as_sent(arg) else "2.0**-40" for arg in series]


def _literal(value: float, kind: Kind) -> str:
    return repr(int(value)) if kind is Kind.BARS else repr(float(value))
