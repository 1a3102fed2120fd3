"""Each error of the service has its own answer in HTTP."""

from service.api.problems import PROBLEM_TYPES
from service.errors import ServiceError


def kinds(of: type[ServiceError]) -> set[type[ServiceError]]:
    return {of}.union(*(kinds(below) for below in of.__subclasses__()))


def test_each_error_has_a_status_and_a_name_of_its_own() -> None:
    assert set(PROBLEM_TYPES) == kinds(ServiceError)
    names = [each.kind for each in PROBLEM_TYPES]
    assert len(set(names)) == len(names)
    assert all(each.status >= 400 for each in PROBLEM_TYPES.values())
