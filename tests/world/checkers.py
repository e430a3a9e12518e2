"""Rules about the truth of orders, each a function of the evidence that yields a sentence for each breach.

`RULES` lists them. A rule is in force in the seeds for which its condition holds. Some rules wait for a promise that
the daemon does not give yet, and are in force in few seeds until then: see `Rule`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.world.clients import ANEW
from tests.world.faults import BLINDNESS, OUTAGES, RESTARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.world.clients import Command
    from tests.world.history import Arrival, Heard
    from tests.world.world import Evidence

Named = tuple[str, str]
"""Owner and key of an order."""

ENDS = ("Filled", "Cancelled", "ApiCancelled")
FOREIGN = "ext"

ALARMED = 65.0
"""Seconds after which an alarm must say that nobody knows what became of an order."""

HELD = ""
"""Status of an order that TWS keeps back and lists nowhere, because nothing has transmitted it."""

TRUE_ENDS = {
    "filled": {"Filled"},
    "cancelled": {"Cancelled", "ApiCancelled"},
    "expired": {"Cancelled"},
    "rejected": {"Inactive", "not there"},
    "not_sent": {"not sent"},
    "not_at_tws": {"not there", "not sent", "ApiCancelled"},
}
"""What the books may have of an order that is done, by the reason that was published."""


# -- what there is, by owner and key


def named(ref: str) -> Named:
    """Return owner and key of an order, as its `orderRef` names them."""
    owner, _, key = ref.partition("/")
    return owner, key


def placements(evidence: Evidence) -> dict[Named, list[Command]]:
    """Return the commands that place an order."""
    found: dict[Named, list[Command]] = defaultdict(list)
    for command in evidence.commands:
        for key in command.placed():
            found[command.client, key].append(command)
    return found


def arrivals(evidence: Evidence) -> dict[Named, list[Arrival]]:
    """Return the orders that have reached TWS as bytes."""
    found: dict[Named, list[Arrival]] = defaultdict(list)
    for each in evidence.history.arrivals:
        found[named(each.ref)].append(each)
    return found


def books(evidence: Evidence) -> dict[Named, list[Any]]:
    """Return the orders in the books of TWS."""
    found: dict[Named, list[Any]] = defaultdict(list)
    for order in evidence.orders:
        found[named(order.order.get("orderRef", ""))].append(order)
    return found


def told(evidence: Evidence) -> dict[Named, list[Heard]]:
    """Return the messages that the daemon keeps about each order, in their order."""
    found: dict[Named, list[Heard]] = defaultdict(list)
    for owner, heard in evidence.history.streams("ord"):
        found[owner, heard.topic.split(".")[2]].append(heard)
    return found


def executions_told(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """Return the executions that the daemon keeps for each owner."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for owner, heard in evidence.history.streams("exec"):
        if heard.kind == "execDetails":
            found[owner].append(heard.data["execution"])
    return found


def commissions_told(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """Return the commission reports that the daemon keeps for each owner."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for owner, heard in evidence.history.streams("exec"):
        if heard.kind == "commissionAndFeesReport":
            found[owner].append(heard.data["commissionAndFeesReport"])
    return found


def accepted(evidence: Evidence) -> dict[Named, Command]:
    """Return the orders whose client has a reply that says "accepted"."""
    found = {}
    for name, commands in placements(evidence).items():
        if (command := next((each for each in commands if each.accepted), None)) is not None:
            found[name] = command
    return found


def last_status(messages: list[Heard]) -> str:
    """Return the last status that was published of an order; empty if there is none."""
    return next((str(each.data["status"]) for each in reversed(messages) if each.kind == "orderStatus"), "")


def last_state(messages: list[Heard]) -> dict[str, Any]:
    """Return the last `orderState` that was published of an order; empty if there is none."""
    return next((dict(each.data) for each in reversed(messages) if each.kind == "orderState"), {})


# -- rules


def nothing_breaks(evidence: Evidence) -> Iterator[str]:
    """The daemon raises nothing, is ready again in the end, and keeps what it has published."""
    yield from evidence.history.errors
    for command in evidence.commands:
        for _, reply in command.replies:
            if not reply["ok"] and reply["error"]["code"] == "E_INTERNAL":
                yield f"{command.client}'s {command.cmd} {command.key} meets a bug: {reply}"


def one_answer_to_one_command(evidence: Evidence) -> Iterator[str]:
    """A run of the daemon gives a repeated command its first reply, unless that was "not sent"."""
    for command in evidence.commands:
        first: dict[int, Any] = {}
        if command.cmd in ANEW:
            continue
        for run, reply in command.replies:
            said = {name: value for name, value in reply.items() if name not in ("dup", "gen")}
            if not reply["ok"] and reply["error"]["outcome"] == "not_sent":
                continue
            if first.setdefault(run, said) != said:
                yield f"{command.client}'s {command.cmd} {command.key} is answered by {first[run]}, and then by {said}"


def no_order_twice_in_a_run(evidence: Evidence) -> Iterator[str]:
    """A run of the daemon sends TWS one order for one owner and key."""
    for name, found in arrivals(evidence).items():
        for run, ids in _ids_by_run(found).items():
            if len(ids) > 1:
                yield f"{name} is sent to TWS under the order ids {sorted(ids)} by run {run}"


def no_order_twice(evidence: Evidence) -> Iterator[str]:
    """TWS gets one order for one owner and key, whatever happens, however often the command is repeated."""
    for name, found in arrivals(evidence).items():
        ids = {run: sorted(ids) for run, ids in _ids_by_run(found).items()}
        if len(set().union(*ids.values())) > 1:
            yield f"{name} is sent to TWS under several order ids, by run of the daemon: {ids}"


def _ids_by_run(found: list[Arrival]) -> dict[int, set[int]]:
    ids: dict[int, set[int]] = defaultdict(set)
    for each in found:
        ids[each.process].add(each.order_id)
    return ids


def one_order_for_an_id_in_a_run(evidence: Evidence) -> Iterator[str]:
    """A run of the daemon gives no order id to two orders."""
    for (number, run), refs in _refs(evidence, lambda each: (each.order_id, each.process)).items():
        if len(refs) > 1:
            yield f"the order id {number} is given to {sorted(refs)} by run {run}"


def one_order_for_an_id(evidence: Evidence) -> Iterator[str]:
    """The daemon gives no order id to two orders, over all its runs."""
    for number, refs in _refs(evidence, lambda each: each.order_id).items():
        if len(refs) > 1:
            yield f"the order id {number} is given to {sorted(refs)}"


def _refs(evidence: Evidence, by: Callable[[Arrival], Any]) -> dict[Any, set[str]]:
    found: dict[Any, set[str]] = defaultdict(set)
    for each in evidence.history.arrivals:
        found[by(each)].add(each.ref)
    return found


def the_order_is_the_one_that_was_asked_for(evidence: Evidence) -> Iterator[str]:
    """TWS gets the attributes of an order as its client has given them, when placing it or in one of its changes."""
    asked, changed = placements(evidence), changes(evidence)
    for name, found in arrivals(evidence).items():
        wanted = [each.placed()[name[1]] for each in asked.get(name, ())]
        for each in found:
            if not any(_is_asked_for(each.order, one, changed.get(name, [])) for one in wanted):
                yield f"{name} reaches TWS as {each.order}, and its client has asked for {wanted}"


def changes(evidence: Evidence) -> dict[Named, list[dict[str, Any]]]:
    """Return the changes that were asked for, by order."""
    found: dict[Named, list[dict[str, Any]]] = defaultdict(list)
    for command in evidence.commands:
        if command.cmd == "modifyOrder":
            found[command.client, command.args["key"]].append(command.args["order"])
    return found


def _is_asked_for(order: dict[str, Any], wanted: dict[str, Any], changed: list[dict[str, Any]]) -> bool:
    given = [wanted, *changed]
    return all(
        any(_same(order.get(field), each[field]) for each in given if field in each)
        for field in wanted
        if field != "transmit"  # which a group and a change set
    )


def _same(one: Any, other: Any) -> bool:
    return one == other or (isinstance(other, int | float) and one is not None and float(one) == float(other))


def no_refused_order_reaches_tws(evidence: Evidence) -> Iterator[str]:
    """An order that was refused, in all its replies, is not at TWS."""
    found = arrivals(evidence)
    for name, commands in placements(evidence).items():
        known = all(len(each.runs) == len(each.replies) for each in commands)
        unclear = any(
            reply["ok"] or reply["error"]["outcome"] == "unknown" for each in commands for _, reply in each.replies
        )
        if known and not unclear and name in found:
            yield f"{name} is at TWS, and every reply says that it was refused"


def an_end_is_the_end(evidence: Evidence) -> Iterator[str]:
    """An order that the daemon has called over is over in the books, and ended as was said."""
    book, sent = books(evidence), arrivals(evidence)
    for name, messages in told(evidence).items():
        orders = book.get(name, [])
        if (
            len({each.order_id for each in sent.get(name, ())}) > 1
        ):  # messages are about either, and a breach of its own
            continue
        states = {order.status for order in orders}
        for heard in messages:
            status = heard.data.get("status") if heard.kind == "orderStatus" else None
            if status in ENDS and states and status not in states:
                yield f"{name} was said to be {status}, and the books have {sorted(states)}"
            if heard.kind == "error" and heard.data.get("ends"):
                text = heard.data["errorString"]
                if "was not placed" in text and name in sent:
                    yield f"{name} was said to be not placed ({text[:90]}), and it has reached TWS"
                if any(order.working for order in orders):
                    yield f"{name} was said to have ended ({heard.data['errorCode']} {text[:60]}), and it is working"


def a_final_state_is_true(evidence: Evidence) -> Iterator[str]:
    """An order whose last published state is "done" is over in the books, for the reason that was published."""
    book, sent = books(evidence), arrivals(evidence)
    for name, messages in told(evidence).items():
        last = last_state(messages)
        if last.get("state") != "done" or name[0] == FOREIGN:
            continue
        true = {order.status for order in book.get(name, ())} or {"not sent" if name not in sent else "not there"}
        if true == {HELD} and "late order" in evidence.struck:  # TWS said that it has none, and did not say more
            continue
        if not true & TRUE_ENDS[str(last["reason"])]:
            yield f"{name} is said to be done, {last['reason']}, and the books have {sorted(true)}"


def states_are_numbered(evidence: Evidence) -> Iterator[str]:
    """The numbers of the published states of an order rise."""
    for name, messages in told(evidence).items():
        numbers = [each.data["changes"] for each in messages if each.kind == "orderState"]
        if numbers != sorted(set(numbers)):
            yield f"{name} has states with the numbers {numbers}"


def no_state_is_old(evidence: Evidence) -> Iterator[str]:
    """An order that is over in the books is "done" in its last published state, and one that works is not."""
    messages = told(evidence)
    for name, orders in books(evidence).items():
        last, true = last_state(messages.get(name, [])), orders[-1].status
        if true == HELD and last.get("state") not in ("held", "unknown") and "late order" not in evidence.struck:
            yield f"{name} is kept back at TWS, and its last published state is {last.get('state')}"
        if true == "ApiCancelled" and last.get("state") in ("held", "unknown"):  # no list of TWS has it
            continue
        if true not in ("Inactive", HELD) and (last.get("state") == "done") == orders[-1].working:
            yield f"{name} is {true} in the books, and its last published state is {last.get('state')}"


def a_rejected_order_is_over(evidence: Evidence) -> Iterator[str]:
    """An order that the broker has rejected is "done" in its last published state."""
    messages = told(evidence)
    for name, orders in books(evidence).items():
        last = last_state(messages.get(name, [])).get("state")
        if orders[-1].status == "Inactive" and last != "done":
            yield f"{name} is rejected in the books, and its last published state is {last}"


def an_execution_is_told_to_its_owner_only(evidence: Evidence) -> Iterator[str]:
    """An execution that is published is in the books, as an execution of that owner."""
    owners = {
        execution["execId"]: named(order.order.get("orderRef", ""))[0] for order, execution, _ in evidence.executions
    }
    for owner, found in executions_told(evidence).items():
        for each in found:
            if owner == FOREIGN and each["execId"] in evidence.strangers:
                continue
            if owners.get(each["execId"]) != owner:
                yield f"{owner} is told the execution {each['execId']}, which is {owners.get(each['execId'])}'s"


def an_execution_is_told_as_it_was(evidence: Evidence) -> Iterator[str]:
    """A published execution has the side, the shares, the price and the order of the execution in the books."""
    true = {execution["execId"]: execution for _, execution, _ in evidence.executions}
    for owner, found in executions_told(evidence).items():
        for each in found:
            if (book := true.get(each["execId"])) is not None:
                wrong = [
                    name
                    for name in ("side", "shares", "price", "orderId", "permId", "orderRef")
                    if not _same(each.get(name), book[name])
                ]
                if wrong:
                    yield f"{owner} is told the execution {each}, and the books have {book}: {wrong}"


def no_execution_twice(evidence: Evidence) -> Iterator[str]:
    """An execution is published once."""
    for owner, found in executions_told(evidence).items():
        for number, times in Counter(each["execId"] for each in found).items():
            if times > 1:
                yield f"{owner} is told the execution {number} {times} times"


def every_commission_is_told(evidence: Evidence) -> Iterator[str]:
    """The commission of every execution in the books is published under its owner."""
    known = commissions_told(evidence)
    for order, execution, report in evidence.executions:
        owner, key = named(order.order.get("orderRef", ""))
        amounts = [
            each.get("commissionAndFees") or 0.0 for each in known[owner] if each["execId"] == execution["execId"]
        ]
        if not any(_same(amount, report["commissionAndFees"]) for amount in amounts):
            yield f"{owner} is told the commissions {amounts} of {key}, and the books have {report}"


def no_commission_twice(evidence: Evidence) -> Iterator[str]:
    """A commission is published once. One without its execution is published under `ext`, and may come again."""
    for owner, found in commissions_told(evidence).items():
        if owner == FOREIGN:
            continue
        for number, times in Counter(each["execId"] for each in found).items():
            if times > 1:
                yield f"{owner} is told the commission of {number} {times} times"


def every_execution_is_told(evidence: Evidence) -> Iterator[str]:
    """Every execution in the books is published under its owner."""
    known = {owner: {each["execId"] for each in found} for owner, found in executions_told(evidence).items()}
    for order, execution, _ in evidence.executions:
        owner, key = named(order.order.get("orderRef", ""))
        if execution["execId"] not in known.get(owner, ()):
            yield f"{owner} is not told the execution {execution['execId']} of {key}"


def positions_are_what_was_told(evidence: Evidence) -> Iterator[str]:
    """The published executions add up to the positions in the books."""
    seen: set[str] = set()
    sums: dict[str, float] = defaultdict(float)
    symbols = {execution["execId"]: order.instrument.symbol for order, execution, _ in evidence.executions}
    for found in executions_told(evidence).values():
        for each in found:
            if each["execId"] not in seen and each["execId"] not in evidence.strangers:
                seen.add(each["execId"])
                sign = 1 if each["side"] == "BOT" else -1
                sums[symbols.get(each["execId"], "?")] += sign * float(each["shares"])
    for symbol, quantity in evidence.positions.items():
        if abs(quantity - sums[symbol]) > 1e-6:
            yield f"{symbol}: the books have {quantity:g}, and the published executions make {sums[symbol]:g}"


def the_positions_of_owners_are_true(evidence: Evidence) -> Iterator[str]:
    """The last published position of an owner is the sum of the executions of its orders in the books."""
    true: Counter[Named] = Counter()
    for order, execution, _ in evidence.executions:
        true[named(order.order.get("orderRef", ""))[0], order.instrument.symbol] += order.sign * execution["shares"]
    said = {
        (owner, heard.data["contract"]["symbol"]): float(heard.data["position"])
        for owner, heard in evidence.history.streams("exec")
        if heard.kind == "ownerPosition" and owner != FOREIGN
    }
    for name in sorted({*true, *said}):
        if abs(true[name] - said.get(name, 0.0)) > 1e-6:
            yield f"{name[0]} is told a position of {said.get(name)} {name[1]}, and the books make {true[name]:g}"


def positions_are_those_of_the_account(evidence: Evidence) -> Iterator[str]:
    """After a list of positions the state has what the account holds, and nothing that it holds no longer."""
    for symbol in sorted({*evidence.holdings, *evidence.listed}):
        true, said = evidence.holdings.get(symbol, 0.0), evidence.listed.get(symbol, 0.0)
        if abs(true - said) > 1e-6:
            yield f"{symbol}: the account holds {true:g}, and the state has {said:g}"


def a_message_is_about_its_order(evidence: Evidence) -> Iterator[str]:
    """A message of TWS about an order is published under the order that has its permId."""
    book = books(evidence)
    for name, messages in told(evidence).items():
        if name[0] == FOREIGN:
            continue
        known = {order.perm_id for order in book.get(name, ())} | {None, 0}
        for heard in messages:
            about = heard.data.get("order") or heard.data
            if heard.kind in ("openOrder", "orderStatus", "completedOrder") and about.get("permId") not in known:
                yield f"{name}, which is {known}, is told of {about.get('permId')}: {heard.kind}"


def an_unknown_order_has_an_alarm(evidence: Evidence) -> Iterator[str]:
    """An alarm holds if nobody has known for some time what became of an order."""
    history, alarmed, run, began = evidence.history, False, 0, 0.0
    unknown: dict[str, float] = {}
    for heard in history.heard:
        if heard.at > history.audited:
            break
        if heard.process != run:
            alarmed, run, began = False, heard.process, heard.at
        if heard.kind == "orderState":
            if heard.data["state"] == "unknown":
                unknown.setdefault(heard.topic, heard.at)
            else:
                unknown.pop(heard.topic, None)
        elif heard.kind == "alarm" and heard.data["alarm"] == "unknownOrders":
            alarmed = heard.data["raised"]
    kept = {name for name, messages in told(evidence).items() if last_state(messages).get("state") == "unknown"}
    late = [
        topic
        for topic, since in unknown.items()
        if history.audited - max(since, began) > ALARMED
        and tuple(topic.split(".")[1:3]) in kept  # a later state may be kept that the daemon died before it sent
    ]
    if late and not alarmed:
        yield f"{sorted(late)} are unknown, and no alarm says so"


def the_last_word_is_true(evidence: Evidence) -> Iterator[str]:
    """The last status that was published of an order is the status in the books."""
    messages = told(evidence)
    for name, orders in books(evidence).items():
        said, true = last_status(messages.get(name, [])), orders[-1].status
        if said != true:
            yield f"{name} is {true} in the books, and its owner was told {said or 'nothing'} last"


def an_accepted_order_is_not_lost(evidence: Evidence) -> Iterator[str]:
    """An accepted order is in the books, or its owner was told that it is over, is kept back, or that nobody knows."""
    messages, book = told(evidence), books(evidence)
    for name in accepted(evidence):
        last = last_state(messages.get(name, [])).get("state", "never published")
        if name not in book and last not in ("done", "unknown", "held"):
            yield f"{name} was accepted and is not at TWS, and its last state is {last}"


def the_fate_is_said(evidence: Evidence) -> Iterator[str]:
    """The daemon publishes a state of every order that it has accepted, or that may have reached TWS."""
    messages = told(evidence)
    for name in sorted({*accepted(evidence), *arrivals(evidence)}):
        if not last_state(messages.get(name, [])):
            yield f"{name} may be at TWS, and no state was ever published of it"


def streams_have_no_hole(evidence: Evidence) -> Iterator[str]:
    """The numbers of every durable stream run from 1 to the last."""
    for stream, numbers in evidence.history.numbers().items():
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{stream} has the numbers {numbers}"


def tws_sees_no_used_id(evidence: Evidence) -> Iterator[str]:
    """TWS never refuses an order because its id was used before (103). Of a change that comes too late it says so."""
    changed = changes(evidence)
    for owner, heard in evidence.history.streams("ord"):
        late = (owner, heard.topic.split(".")[2]) in changed
        if heard.kind == "error" and heard.data["errorCode"] == 103 and not late:
            yield f"{owner} is told {heard.data['errorString']}, on {heard.topic}"


def a_halt_tells_the_truth(evidence: Evidence) -> Iterator[str]:
    """An order in the list of the cancelled is over in the books and not filled; one that is called filled is."""
    book = books(evidence)
    for one in evidence.mass_cancels:
        if one["cause"] == "halt" and not one["over"]:
            yield f"the mass cancel {one['id']} goes on after its deadline"
        for each in one["cancelled"]:
            true = {order.status for order in book.get((each["owner"], each["key"]), ())}
            if true & {"Submitted", "PreSubmitted", "PendingSubmit", "PendingCancel", "Filled"}:
                yield f"{each['owner']}/{each['key']} is called cancelled by {one['cause']}, and the books have {true}"
        for each in one["refused"]:
            true = {order.status for order in book.get((each["owner"], each["key"]), ())}
            if each["reason"] == "filled" and true and true != {"Filled"}:
                yield f"{each['owner']}/{each['key']} is called filled, and the books have {true}"


def a_living_client_keeps_its_orders(evidence: Evidence) -> Iterator[str]:
    """Only the orders of a client that has died are cancelled by the dead man."""
    for each in evidence.history.heard:
        lived = not any(at <= each.at for at in evidence.deaths.get(each.topic.split(".")[1], ()))
        if lived and each.kind == "orderState" and each.data["cause"] == "dead_man":
            yield f"{each.topic}: cancelled by the dead man at {each.at:.3f}, and its client has not died before"


# -- conditions


class Condition(NamedTuple):
    """Condition of a rule: in a seed for which it holds, the rule is in force."""

    name: str
    holds: Callable[[Evidence], bool]


def without(name: str, *kinds: str, losses: bool = True) -> Condition:
    """Return the condition that no fault of these kinds has struck, and (without `losses`) no commit was lost."""
    some = frozenset(kinds)
    return Condition(
        name, lambda evidence: not some & evidence.struck and (losses or not evidence.history.commits_lost)
    )


always = Condition("always", lambda _: True)
kept = without("no commit was lost with the power", losses=False)
in_sequence = without(
    "one run of the daemon, which hears everything in its order", *RESTARTS, *BLINDNESS, *OUTAGES, "reorder"
)

_OVERTAKING = (
    *("reject 103", "reject", "restart", "nightly reset", "same client id", "delay", "pace"),
    "late order",
    *OUTAGES,
)
in_order = without("no id is burnt at TWS, and TWS hears all orders in their order", *_OVERTAKING)


class Rule(NamedTuple):
    """Rule, and the condition under which it is in force.

    `waits_for` is a promise that the daemon does not give yet. Once it gives the promise, `then` becomes the condition.
    """

    check: Callable[[Evidence], Iterator[str]]
    condition: Condition
    waits_for: str = ""
    then: Condition = always

    @property
    def name(self) -> str:
        """The name of the rule, as a sentence."""
        return self.check.__name__.replace("_", " ")


RULES = (
    Rule(nothing_breaks, always),
    Rule(one_answer_to_one_command, always),
    Rule(no_order_twice_in_a_run, always),
    Rule(no_order_twice, always),
    Rule(one_order_for_an_id_in_a_run, always),
    Rule(one_order_for_an_id, always),
    Rule(tws_sees_no_used_id, in_order),
    Rule(the_order_is_the_one_that_was_asked_for, always),
    Rule(no_refused_order_reaches_tws, always),
    Rule(an_accepted_order_is_not_lost, always),
    Rule(an_end_is_the_end, always),
    Rule(a_final_state_is_true, always),
    Rule(states_are_numbered, kept),
    Rule(a_rejected_order_is_over, always),
    Rule(no_state_is_old, always),
    Rule(the_last_word_is_true, in_sequence, "the last orderStatus is published again after a reconciliation"),
    Rule(the_fate_is_said, always),
    Rule(an_execution_is_told_to_its_owner_only, always),
    Rule(an_execution_is_told_as_it_was, always),
    Rule(no_execution_twice, kept),
    Rule(every_execution_is_told, always),
    Rule(every_commission_is_told, always),
    Rule(no_commission_twice, kept),
    Rule(positions_are_what_was_told, always),
    Rule(the_positions_of_owners_are_true, always),
    Rule(positions_are_those_of_the_account, always),
    Rule(a_message_is_about_its_order, always),
    Rule(a_halt_tells_the_truth, always),
    Rule(a_living_client_keeps_its_orders, always),
    Rule(an_unknown_order_has_an_alarm, always),
    Rule(streams_have_no_hole, kept),
)


class Breach(NamedTuple):
    """Breach of a rule."""

    rule: str
    text: str


def breaches(evidence: Evidence, *, everything: bool = False) -> list[Breach]:
    """Return the breaches of the rules that are in force; with `everything`, as if all promises were given."""
    return [
        Breach(rule.name, text)
        for rule in RULES
        if rule.condition.holds(evidence) or (everything and rule.waits_for and rule.then.holds(evidence))
        for text in rule.check(evidence)
    ]
