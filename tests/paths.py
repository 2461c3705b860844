"""Where things are in the checkout that is tested."""

from pathlib import Path

CHECKOUT = Path(__file__).absolute().parents[1]
CONFORMANCE = CHECKOUT / "tests/conformance"
FIXTURES = CHECKOUT / "tests/fixtures"
STATIC = CHECKOUT / "bbs/web/static"  # the files of the operators' page
