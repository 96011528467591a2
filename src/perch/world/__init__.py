"""The simulated ad market: users, ads and auctions, and clicks that come late, from a click rate that is known.

Nothing real comes with a truth to compare with; this does. It feeds the pipeline a log, and a running service the
traffic that follows the log. Equal seeds give equal markets.
"""

from perch.world.market import Market
from perch.world.requests import Click, SlateRequest
from perch.world.settings import MarketSettings

__all__ = ["Click", "Market", "MarketSettings", "SlateRequest"]
