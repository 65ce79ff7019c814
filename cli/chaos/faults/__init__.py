"""What goes wrong during chaos: to processes, on the network, at Stripe, and with its webhooks.

Each module knows how its faults strike, how they are taken back, and how often they did. A fault counts when it has had
an effect: a proxy that cuts no connection has not struck.
"""
