"""Whatever the last release was told by its settings still means something."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.upgrades.versions import Version, settings

DEFAULTS: Final = """
import json
from holdfast.service.settings import Settings
print(json.dumps(json.loads(Settings().model_dump_json())))
"""


def test_each_setting_is_known(old: Version, new: Version) -> None:
    """A variable of the last release is accepted, or refused by an error that names another one."""
    given = json.loads(old.python(DEFAULTS))
    for name in sorted(settings(old) - settings(new)):
        value = given[name.removeprefix("HOLDFAST_").lower()]
        said = new.run("serve", **{name.removeprefix("HOLDFAST_"): value}).stderr
        others = settings(new) - {name}
        assert any(other in said for other in others), f"{name} has no successor: {said}"


def test_defaults_are_accepted(old: Version, new: Version) -> None:
    """All settings of the last release, as they are by default, are accepted as a whole."""
    given = json.loads(old.python(DEFAULTS))
    shared = {name.removeprefix("HOLDFAST_").lower() for name in settings(old) & settings(new)}
    chosen = {name: _text(given[name]) for name in shared if given[name] not in (None, "", [])}
    code = f"import os; os.environ.update({_environment(chosen)!r})\n"
    code += "from holdfast.service.settings import load; load(); print('accepted')"
    assert new.python(code) == "accepted"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _environment(chosen: dict[str, str]) -> dict[str, str]:
    return {f"HOLDFAST_{name.upper()}": value for name, value in chosen.items()}
