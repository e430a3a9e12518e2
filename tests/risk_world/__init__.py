"""Random lives of the risk gate, and a second implementation of its rules that judges each decision.

`judge` is written from the sentences of docs/risk.md. It keeps all that has happened, and works everything out anew for
each order: slow and simple. `world` draws orders, executions, quotes, restarts and clocks from one seed. Run many of
them with `python -m tests.risk_world --steps 1000000`.
"""
