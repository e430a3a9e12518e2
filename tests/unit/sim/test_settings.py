"""Users give the simulator's settings as keywords: the keywords, the settings and the help name the same."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ibbridge.sim import SimulatedTws, Simulator
from ibbridge.sim.settings import HostOptions, HostSettings, SimulatorOptions, SimulatorSettings

PAIRS = [(HostSettings, HostOptions, SimulatedTws), (SimulatorSettings, SimulatorOptions, Simulator)]


@pytest.mark.parametrize(("settings", "options", "_"), PAIRS)
def test_every_setting_is_an_option_of_the_same_type(settings, options, _):
    given = {name: kind.__forward_arg__ for name, kind in options.__annotations__.items()}
    assert given == {each.name: each.type for each in fields(settings)}


@pytest.mark.parametrize(("settings", "_", "face"), PAIRS)
def test_help_describes_every_option(settings, _, face):
    described = [line.split("`")[1] for line in face.__doc__.splitlines() if line.strip().startswith("- `")]
    assert sorted(described) == sorted(each.name for each in fields(settings))


@pytest.mark.parametrize("face", [SimulatedTws, Simulator])
def test_an_unknown_option_is_an_error(face):
    with pytest.raises(TypeError, match="sped"):
        face(sped=2.0)


def test_an_option_is_in_force_and_the_others_have_their_defaults():
    host = SimulatedTws(seed=3, accounts=("DU1", "DU2"))
    assert host.context.settings == HostSettings(accounts=("DU1", "DU2"))
    simulator = Simulator("127.0.0.1", 0, seed=3, made_up=True, speed=0.0)
    assert simulator._settings == SimulatorSettings(seed=3, made_up=True, speed=0.0)
    assert simulator.core.context.settings == HostSettings(made_up=True)
    assert Simulator(core=host).core is host
