"""The tests of bbs, by trial."""

from hypothesis import HealthCheck, settings

# How long a machine takes shows nothing: it may have much else to do.
settings.register_profile(
    "untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
