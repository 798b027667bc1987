"""The filter tree as a Postgres condition on a jsonb column. Every value and key of the user's travels as a parameter.

No branch yields null, so that a negation is exact. Numbers are compared as jsonb, which is exact and never fails on
what a payload happens to hold.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from psycopg import sql

from shared.vectors.filter_nodes import (
    PLAIN_MOMENT,
    ZONED_MOMENT,
    AllOf,
    AnyOf,
    Between,
    Equals,
    Exists,
    Filter,
    Not,
    OneOf,
    Path,
    Scalar,
)

Params = dict[str, Any]
SIGNS = {"gt": sql.SQL(">"), "gte": sql.SQL(">="), "lt": sql.SQL("<"), "lte": sql.SQL("<=")}


def compile_sql(filter: Filter, column: sql.Composable) -> tuple[sql.Composable, Params]:
    """A boolean expression over `column` (jsonb), and its parameters, named `filter_<n>`. Needs Postgres 16."""
    compiler = _Compiler(column)
    return compiler.condition(filter), compiler.params


class _Compiler:
    def __init__(self, column: sql.Composable) -> None:
        self.params: Params = {}
        self._column = column

    def condition(self, filter: Filter) -> sql.Composable:
        match filter:
            case Equals(path, value):
                return self._one_of(path, (value,))
            case OneOf(path, values):
                return self._one_of(path, values)
            case Between(path):
                return self._between(filter, path)
            case Exists(path):
                return sql.SQL("COALESCE({} NOT IN ('null', '[]'), false)").format(self._field(path))
            case AllOf(parts):
                return self._joined(" AND ", parts, "true")
            case AnyOf(parts):
                return self._joined(" OR ", parts, "false")
            case Not(part):
                return sql.SQL("(NOT {})").format(self.condition(part))

    def _joined(self, word: str, parts: tuple[Filter, ...], empty: str) -> sql.Composable:
        if not parts:
            return sql.SQL("true" if empty == "true" else "false")
        glue = sql.SQL(" AND ") if word == " AND " else sql.SQL(" OR ")
        return sql.SQL("({})").format(glue.join([self.condition(part) for part in parts]))

    def _one_of(self, path: Path, values: tuple[Scalar, ...]) -> sql.Composable:
        """Containment in the whole payload, as the value itself or as an element: what the GIN index answers."""
        nested = [_nested(path, found) for value in values for found in (value, [value])]
        return sql.SQL("({} @> ANY ({}::text[]::jsonb[]))").format(self._column, self._bind(nested))

    def _between(self, range: Between, path: Path) -> sql.Composable:
        test = self._moment_test(range) if range.of_moments else self._number_test(range)
        field = self._field(path)
        return sql.SQL(
            "CASE jsonb_typeof({field}) WHEN 'array' THEN EXISTS"
            " (SELECT 1 FROM jsonb_array_elements({field}) AS element(value) WHERE {element})"
            " ELSE COALESCE({alone}, false) END"
        ).format(field=field, element=test(sql.SQL("element.value")), alone=test(field))

    def _number_test(self, range: Between) -> Callable[[sql.Composable], sql.Composable]:
        bounds = [(SIGNS[name], self._bind(json.dumps(bound))) for name, bound in range.bounds().items()]

        def test(value: sql.Composable) -> sql.Composable:
            parts = [sql.SQL("{} {} {}::jsonb").format(value, sign, bound) for sign, bound in bounds]
            return sql.SQL("(jsonb_typeof({}) = 'number' AND {})").format(value, sql.SQL(" AND ").join(parts))

        return test

    def _moment_test(self, range: Between) -> Callable[[sql.Composable], sql.Composable]:
        bounds = [(SIGNS[name], self._bind(bound)) for name, bound in range.bounds().items()]
        zoned, plain = self._bind(ZONED_MOMENT), self._bind(PLAIN_MOMENT)

        def test(value: sql.Composable) -> sql.Composable:
            # Postgres rounds past the microsecond, Python cuts.
            text = sql.SQL(r"regexp_replace({} #>> '{{}}', '([.][0-9]{{6}})[0-9]+', '\1')").format(value)
            parts = [sql.SQL("moment.at {} {}::timestamptz").format(sign, bound) for sign, bound in bounds]
            return sql.SQL(
                "(jsonb_typeof({value}) = 'string' AND (SELECT COALESCE({parts}, false) FROM (SELECT CASE"
                " WHEN NOT pg_input_is_valid({text}, 'timestamptz') THEN NULL"
                " WHEN {text} ~ {zoned} THEN ({text})::timestamptz"
                " WHEN {text} ~ {plain} THEN ({text})::timestamp AT TIME ZONE 'UTC' END) AS moment(at)))"
            ).format(value=value, parts=sql.SQL(" AND ").join(parts), text=text, zoned=zoned, plain=plain)

        return test

    def _field(self, path: Path) -> sql.Composable:
        """The field as jsonb, SQL null where it is missing. A text key never indexes into a list."""
        keys = [sql.SQL(" -> {}::text").format(self._bind(key)) for key in path]
        return sql.SQL("({}{})").format(self._column, sql.Composed(keys))

    def _bind(self, value: str | list[str] | float | datetime) -> sql.Placeholder:
        name = f"filter_{len(self.params)}"
        self.params[name] = value
        return sql.Placeholder(name)


def _nested(path: Path, value: Any) -> str:
    for key in reversed(path):
        value = {key: value}
    return json.dumps(value, ensure_ascii=False)
