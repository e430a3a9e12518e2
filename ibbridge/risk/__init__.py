"""The permission to trade: the kill switch, and every check that an order must pass before it leaves.

The package decides whether an order may be sent now.
The package must not know how an order is sent, or what becomes of the order.

Read `rules` first: one table with a function and a sentence for each rule. `limits` has the settings, `order` the order
as a rule sees it, `valuation` its worth, `book` what was traded and works, and `evaluation` the decision.
"""
