"""The refusals: one code each, and a tree that is drawn as it is."""

from collections import Counter
from collections.abc import Iterator

from domain import errors


def refusals(root: type[errors.PaysagaError] = errors.PaysagaError) -> Iterator[type[errors.PaysagaError]]:
    """Every class of the tree that the domain defines, the root too."""
    if root.__module__ == errors.__name__:
        yield root
    for child in root.__subclasses__():
        yield from refusals(child)


def test_every_refusal_is_in_the_drawn_tree() -> None:
    drawn = errors.__doc__ or ""

    assert [each.__name__ for each in refusals() if each.__name__ not in drawn] == []


def test_every_code_belongs_to_one_refusal() -> None:
    codes = Counter(each.code for each in refusals() if "code" in vars(each))

    assert [code for code, uses in codes.items() if uses > 1] == []


def test_every_refusal_that_can_be_raised_has_its_own_code_title_and_remedy() -> None:
    families = {errors.PaysagaError, errors.AccessError, errors.LedgerError}
    for each in set(refusals()) - families:
        assert {"code", "title"} <= set(vars(each)), each
        assert each.title != errors.PaysagaError.title, each


def test_a_refusal_tells_its_detail_and_may_bring_its_own_remedy() -> None:
    refused = errors.InvalidField("amount", "It is odd.", remedy="Make it even.")

    assert (str(refused), refused.field, refused.remedy) == ("It is odd.", "amount", "Make it even.")
    assert errors.InvalidField("amount", "It is odd.").remedy == errors.InvalidField.remedy
