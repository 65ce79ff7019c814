"""How hard the properties are tried: often, on a machine that may be busy, and without leaving files behind."""

from hypothesis import settings

settings.register_profile("paysaga", deadline=None, database=None)
settings.load_profile("paysaga")
