"""Chaos: a whole Paysaga under load, everything around it failing again and again, and a judge of what came of it.

plan.py        what a run is asked to be: its length, seed, faults, and how far waiting times are scaled down
place.py       the stack with two of everything, the proxies between its parts, and the ways to look behind it
proxies.py     connections that can be cut, stalled, or lose an answer
record.py      what every client asked and was told, written before and after
clients.py     clients, who ask again under the same key when they were told nothing
lives.py       what they want: deposits, transfers, offers, withdrawals, accounts at Stripe
faults/        what goes wrong, when, and whether it did
books.py       all SQL: a reader of the ledger beside the load, and what is looked up afterwards
gathering.py   the evidence, once everything is quiet
model.py       what must then be, by what the API promises; it knows no code of ours
judge.py       what is not so
run.py         all of it, from the start of the stack to the verdict
"""
