"""A strategy in fifteen lines: buy 100 AAPL when it trades below 180, and say what became of it.

Start a daemon (`ibbridge run`) and something for it to connect to: TWS, IB Gateway, or `ibbridge sim`. Then run this.
"""

from ibbridge.client import Message, connect, limit, stock

with connect("example") as ib:

    def on_price(tick: Message) -> None:
        """Called for every price; tick type 4 is the last trade."""
        if tick.tickType == 4 and tick.price < 180:
            ib.unregister("tickPrice", on_price)
            ib.placeOrder(stock("AAPL"), limit("BUY", 100, tick.price))

    ib.register("tickPrice", on_price)
    ib.reqMktData(stock("AAPL"))
    for message in ib:
        print(message)
