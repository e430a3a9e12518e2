"""The part of a reload that is about limits: reads them, names their faults, and has them hold.

Pure. The module must not know what a limit does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.config.reload import Taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.config.model import Config
    from ibbridge.orders.risk_control import RiskControl
    from ibbridge.risk.limits import RiskPolicy


class LimitTaker:
    """Taker of limits. `limits_of` returns those of a configuration, and raises ConfigError for faults in them."""

    def __init__(self, control: RiskControl, limits_of: Callable[[Config], RiskPolicy]) -> None:
        self._control = control
        self._limits_of = limits_of

    def prepare(self, config: Config) -> Callable[[], Taken]:
        """Return the action that has new limits hold. Raise ConfigError for faults in them."""
        policy, base = self._limits_of(config), config.risk.base_currency

        def act() -> Taken:
            self._control.set_policy(policy, base)
            return Taken()

        return act
