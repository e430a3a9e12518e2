"""World from one seed: the daemon, TWS, clients and faults in one thread and in virtual time.

A seed is a number, and decides everything: what clients ask, what fails and when, how long each byte is on its way. Two
lives of one seed are the same to the byte, in every process. So a failing seed is a complete report of a bug.

    make world                                         300 seeds
    make world SEEDS=10000                             many, on all cores
    python -m tests.world --first 224 --seeds 1        one seed
    python -m tests.world --first 224 --seeds 1 --trace
    python -m tests.world --everything                 as if the daemon gave every promise that a rule waits for

Parts. `world` puts a world together. In it, `process` is a run of the daemon, with the parts as `wiring` assembles
them, and with the places at which it can be killed. `tws` and `network` are the simulated TWS and the way to it,
`disk` the machine's disk, with what a loss of power takes from it. `clients` trade, `outsiders` trade beside the
daemon, `faults` strike, `history` keeps what is said. `checkers` has the rules, and `catalogue` what a large run must
have reached.

Reading a failing seed. The program prints the rules that the seed breaks, each with a sentence that names the order;
the faults of the seed with their times; and the lines of its trace that name these orders. With `--trace` it prints all
lines:

    1014.4215  b asks {...} (try 1)       client b sends a command, here for the first time
    1014.4235  b hears {...}              the reply
    1014.4229  TWS hears placeOrder {...} a request has arrived at TWS
    1018.0180  pub   ord.b.b3.error. {...} the daemon publishes a message
    1017.5050  FAULT TWS: {...}           a fault strikes; those of TWS are steps of the simulator (docs/simulator.md)
    1036.1736  planned: Doom(...)         the daemon will be killed at one of the next commits, writes, frames ...
    1038.2527  FAULT kill -9 ...          and here it is killed
    1038.2527  log   INFO ...             a line of the daemon's log

Look for the key that the rule names, and for the fault before the first wrong line. Times are seconds, from 1000. After
a change to the daemon the seed may take another course from the first changed byte on: then run many seeds.

Switching a rule on. Rules that wait for a promise say so in `checkers.RULES` (`waits_for`). When the daemon gives the
promise, leave only the check and its `then` (for most rules `always`) in the row.

Left out: threads and asyncio (the daemon's loop is the timeline), ZeroMQ and its losses, a disk that hangs, or that
is full when the daemon starts (`tests/attacks`), market data, exercises of options, several accounts, and midnight.
Another program under the daemon's client id, and order ids that go back, are not in one world, and its order ids are
far from the daemon's (`outsiders.APART`).
"""
