"""Evaluates the expressions of derived features (docs/MODELS.md, "Tabular") with numpy, for checks of a conversion."""
from __future__ import annotations

import ast
import re

import numpy as np

FUNCTIONS = {
    "min": np.minimum, "max": np.maximum, "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "log2": np.log2, "log10": np.log10, "where": lambda c, a, b: np.where(c != 0, a, b),
    "is_missing": lambda a: np.isnan(a).astype(np.float64),
}
OPERATORS = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power}
COMPARISONS = {ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
               ast.Eq: np.equal, ast.NotEq: np.not_equal}


def evaluate(expression: str, columns: dict[str, np.ndarray]) -> np.ndarray:
    """The value of an expression for each row; names come from `columns`."""
    quoted: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        quoted[stand_in := f"quoted_{len(quoted)}"] = match[1]
        return stand_in

    text = re.sub(r"`([^`]+)`", plain, expression).replace("^", "**")
    tree = ast.parse(text, mode="eval").body

    def value(node: ast.expr):
        match node:
            case ast.Constant(value=int() | float() as number):
                return np.float64(number)
            case ast.Name(id=name):
                name = quoted.get(name, name)
                if name not in columns:
                    raise ValueError(f"the expression {expression!r} names {name!r}, which is no feature")
                return columns[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
                return OPERATORS[type(operator)](value(left), value(right))
            case ast.Compare(left=left, ops=[comparison], comparators=[right]) if type(comparison) in COMPARISONS:
                return COMPARISONS[type(comparison)](value(left), value(right)).astype(np.float64)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
                return FUNCTIONS[name](*map(value, arguments))
        raise ValueError(f"the expression {expression!r} holds {ast.unparse(node)!r}, which is not understood")

    with np.errstate(all="ignore"):
        return np.asarray(value(tree), np.float64)
