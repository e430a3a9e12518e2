"""Example strategy in twenty-five lines: buy 100 AAPL when the price falls, print the order's messages, and end.

Start a daemon (`ibbridge run`), and for it to connect to, TWS or IB Gateway with a paper account, or `ibbridge sim`.
Then run this file, as often as you like. The strategy refuses an account that may hold real money.
"""

from ibbridge.client import Request, connect, limit, stock

LAST = (4, 68)  # IB's tick types for the last trade, live and delayed
OVER = ("Filled", "Cancelled", "ApiCancelled", "Inactive")  # final states of an order

with connect("example") as ib:
    accounts = ib.status()["tws"]["accounts"]
    if not accounts or not all(account.startswith("D") for account in accounts):  # as IB's paper accounts do
        raise SystemExit(f"accounts {accounts}: this example trades, so it takes paper accounts only")
    highest, order = 0.0, None
    ib.reqMktData(stock("AAPL"))
    for message in ib:
        if isinstance(order, Request) and message.concerns(order):
            print(message, flush=True)
            if (message.type == "orderStatus" and message.status in OVER) or message.data.get("ends"):
                break
        elif order is None and message.type == "tickPrice" and message.tickType in LAST:
            highest = max(highest, message.price)
            if 0 < message.price < highest:
                order = ib.placeOrder(stock("AAPL"), limit("BUY", 100, round(message.price * 1.001, 2)))
                print(f"the price fell from {highest} to {message.price}: 100 are to be bought", flush=True)
