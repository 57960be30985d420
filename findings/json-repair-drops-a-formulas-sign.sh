#!/usr/bin/env bash
# json_repair 0.64.6
#
# Expected: a model's reply whose formula lacks its quotes comes back with the formula in quotes, or is refused. The
# README promises to fix missing quotes, and says of strict=True that it raises ValueError for ambiguous constructs.
#
# Happens: the minus before an unquoted value is thrown away, and the value ends at its first comma or after a leading
# number. -rank(close) becomes rank(close): the same factor, the
# other way round, and still a valid formula, so no later check can see it. "1 - rank(close)" and
# "0.5 * rank(close)" become the numbers 1 and 0.5. A formula with a comma loses its tail. The other fields are
# right, and strict=True lets all of these pass.
#
# output seen:
#   json_repair 0.64.6
#   {"formula": -rank(close), "window": 5}          -> {'formula': 'rank(close)', 'window': 5}         strict: the same
#   {"formula": -close, "window": 5}                -> {'formula': 'close', 'window': 5}               strict: the same
#   {"formula": 1 - rank(close), "window": 5}       -> {'formula': 1, 'window': 5}                     strict: the same
#   {"formula": 0.5 * rank(close), "window": 5}     -> {'formula': 0.5, 'window': 5}                   strict: the same
#   {"formula": -ts_mean(returns, 3), "window": 5}  -> {'formula': 'ts_mean(returns', 'window': 5}     strict: the same
#   quoted: {'formula': '-rank(close)', 'window': 5}
#   entries in the log of the first reply: 3; none of them names the minus
#
# Do instead: pass logging=True and take the value only if the log is empty (json.loads was enough); otherwise ask
# the model again. Where a repair is wanted all the same, look for every repaired formula as a whole quoted string
# in the reply.
#
# No issue of mangiucugna/json_repair about the sign was found (searched in November 2026); #174 (closed) was about
# unquoted values that begin with digits and an e.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check json-repair==0.64.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata

import json_repair

print("json_repair", importlib.metadata.version("json-repair"))
seen = {
    "-rank(close)": "rank(close)",
    "-close": "close",
    "1 - rank(close)": 1,
    "0.5 * rank(close)": 0.5,
    "-ts_mean(returns, 3)": "ts_mean(returns",
}
same = True
for formula, expected in seen.items():
    reply = '{"formula": %s, "window": 5}' % formula
    value = json_repair.loads(reply)
    try:
        strict = json_repair.loads(reply, strict=True)
    except ValueError as error:
        strict = error
    print(f"{reply:47} -> {value!s:47} strict: {'the same' if strict == value else strict}")
    same = same and value == {"formula": expected, "window": 5} and strict == value

quoted = json_repair.loads('{"formula": "-rank(close)", "window": 5,}')
print("quoted:", quoted)
_, log = json_repair.loads('{"formula": -rank(close), "window": 5}', logging=True)
silent = not any("minus" in entry["text"] or "sign" in entry["text"] for entry in log)
print(f"entries in the log of the first reply: {len(log)}; {'none of them names' if silent else 'they name'} the minus")

same = same and quoted == {"formula": "-rank(close)", "window": 5} and log and silent
raise SystemExit(0 if same else "no longer as described above")
PY
