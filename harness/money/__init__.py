"""Prices, and what calls cost. Amounts are decimals throughout; what is unknown stays unknown.

amounts.py   decimals from text and back, and as people read them
table.py     price records by exact keys; the shipped file is prices.json
pricing.py   the cost of a call by its price, and the most that one can cost
purse.py     a budget, and what is in flight on its account
"""

from harness.money.amounts import dollars, parse_amount, plain
from harness.money.pricing import (
    call_cost,
    charge,
    table_cost,
    uncosted,
    was_refused,
    was_sent,
    worst_case,
)
from harness.money.purse import Purse
from harness.money.table import PriceTable, shipped

__all__ = [
    "PriceTable",
    "Purse",
    "call_cost",
    "charge",
    "dollars",
    "parse_amount",
    "plain",
    "shipped",
    "table_cost",
    "uncosted",
    "was_refused",
    "was_sent",
    "worst_case",
]
