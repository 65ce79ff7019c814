"""Chaos: a whole Paysaga under load, everything around it failing again and again, and a judge of what came of it.

run.py         all of it, from the start of the stack to the verdict: `await Chaos(Plan(…), make_folder()).run()`
plan.py        what a run is asked to be: its length, seed, faults, and how far waiting times are scaled down
scene.py       who there is, and the means by which they act
lives.py       what they want: deposits, transfers, offers, withdrawals, accounts at Stripe
workload.py    lives without end, so many at once
clients.py     clients, who ask again under the same key when they were told nothing
record.py      what every client asked and was told, written before and after
outside.py     the world outside: Stripe's books, and what cardholders, account owners and banks do there
faults/        what goes wrong, when, and whether it did
machine.py     whether it had the processors that it was said to have
proxies.py     connections that can be cut, stalled, or lose an answer
books.py       all SQL: a reader of the ledger beside the load, and what is looked up afterwards
gathering.py   the evidence, once everything is quiet
evidence.py    as the judge is shown it
model.py       what must then be, by what the API promises; it knows no code of ours
judge.py       what is not so
"""
