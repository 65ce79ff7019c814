"""`paysaga demo`: a story over the public HTTP API, with the Stripe sandbox as the world outside.

command    what is typed: starts a stack or finds one, has the story told, ends the stack
place      where it is told: addresses and keys of one stack
story      what every chapter uses: people, sentences, waiting, expectations
outside    cardholders, contractors, their banks, webhooks that get lost
contractors what they do in several chapters: earn, be onboarded, withdraw
offers     what is done to offers in several chapters: made, acted upon, ended by the clock
chapters/  one module each
ending     how it ended: read once more, compared, audited; also as JSON
printing   tables and links for the terminal
"""
