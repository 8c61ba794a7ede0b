"""Variables as the kubelet makes them. Run by `make test-scripts`."""

from __future__ import annotations

import unittest

from manifests.environment import Started, started

# What becomes of a text where A is "a": those of Kubernetes' own tests that tell rules apart.
EXAMPLES = {
    "$(A)": "a",
    "$(A)$(A)-$(A)": "aa-a",
    "$(B)": "$(B)",
    "$$(A)": "$(A)",
    "$$$(A)": "$a",
    "$$$$(A)": "$$(A)",
    "$A": "$A",
    "$(A": "$(A",
    "$": "$",
    "$$": "$",
    "$($(A))": "$($(A))",
    "$()": "$()",
}


def values(kind: str, name: str) -> dict[str, str] | None:
    return {
        ("ConfigMap", "settings"): {"SIZE": "1", "TEXT": "$(SIZE)"},
        ("Secret", "password"): {"key": "s$(SIZE)t"},
    }.get((kind, name))


class Environment(unittest.TestCase):
    def test_references_are_replaced_as_the_kubelet_does(self) -> None:
        for text, expected in EXAMPLES.items():
            self.assertEqual(Started(variables={"A": "a"}).expand(text, "PLACE"), expected)

    def test_only_what_stands_before_is_referred_to(self) -> None:
        password = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "password", "key": "key"}}}
        url = {"name": "URL", "value": "nats://api:$(PASSWORD)@nats"}
        right, wrong = (started({"env": env}, values) for env in ([password, url], [url, password]))
        # A password is taken as it is, whatever it looks like.
        self.assertEqual((right.variables["URL"], right.unresolved), ("nats://api:s$(SIZE)t@nats", []))
        self.assertEqual(
            (wrong.variables["URL"], wrong.unresolved), ("nats://api:$(PASSWORD)@nats", [("URL", "PASSWORD")])
        )

    def test_config_maps_come_before_all_variables_and_are_not_expanded(self) -> None:
        container = {
            "envFrom": [
                {"configMapRef": {"name": "settings"}},
                {"prefix": "MORE_", "configMapRef": {"name": "settings"}},
            ]
        }
        container["env"] = [{"name": "BOTH", "value": "$(SIZE)$(MORE_SIZE)"}]
        found = started(container, values)
        self.assertEqual(
            found.variables, {"SIZE": "1", "TEXT": "$(SIZE)", "MORE_SIZE": "1", "MORE_TEXT": "$(SIZE)", "BOTH": "11"}
        )

    def test_arguments_refer_to_every_variable(self) -> None:
        container = {
            "command": ["run"],
            "args": ["$(B)", "$(C)"],
            "env": [{"name": "A", "value": "$(B)"}, {"name": "B", "value": "b"}],
        }
        found = started(container, values)
        self.assertEqual((found.arguments, found.unresolved), (["run", "b", "$(C)"], [("A", "B"), ("args", "C")]))

    def test_a_value_that_is_not_known_is_shown_by_its_reference(self) -> None:
        source = {"secretKeyRef": {"name": "elsewhere", "key": "key"}}
        self.assertEqual(
            started({"env": [{"name": "A", "valueFrom": source}]}, values).variables, {"A": "elsewhere/key"}
        )


if __name__ == "__main__":
    unittest.main()
