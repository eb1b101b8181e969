"""Every concept of Python source: its group, its parents, and when a token has it."""

from __future__ import annotations

import keyword
from collections.abc import Iterator

from monosemy.data.concepts.python_words import FAMILIES, KEYWORDS, SIGNS
from monosemy.data.concepts.sets import EVERY, LAST, Concept, ConceptSet

# group, then lines `name < parent, parent: when a token has it`. `*` behind a name: the last token
# of the piece stands for it.
_DECLARED = {
    "string": """
string: in a string literal, quotes included
docstring < string: in the string that opens a module, class or function
module docstring < docstring: in that of a module
class docstring < docstring: in that of a class
function docstring < docstring: in that of a function or method
docstring first line < docstring: in its first line that has text
docstring later lines < docstring: behind its first line
string that is no docstring < string: in any other string
one-line string < string: between single quotation marks
triple-quoted string < string: between three quotation marks
string in ' < one-line string: between apostrophes
string in " < one-line string: between double quotation marks
raw string < string: with the prefix r
bytes < string: with the prefix b
f-string < string: with the prefix f
f-string text < f-string: outside its braces
f-string expression < f-string: inside its braces
empty string < string: with nothing between its marks
string with a space < string that is no docstring: a text of several words
string with % < string that is no docstring: with a conversion such as %s
string with an escape < string that is no docstring: with a backslash
string with a brace < string that is no docstring: with { inside, f-strings left out
dictionary key in quotes < string that is no docstring: before the colon of a dictionary
""",
    "comment": """
comment: behind #
comment of its own line < comment: with nothing before it
comment behind code < comment: on a line with code
comment that goes on < comment of its own line: the line before is a comment too
comment that notes < comment: with TODO, FIXME, XXX, HACK or NOTE
comment of code tools < comment: type:, noqa, pragma, pylint, coding, a shebang
""",
    "keyword": """
keyword*: a word that Python keeps for itself
keyword of definitions* < keyword: def, class, lambda
keyword of branches* < keyword: if, elif, else
keyword of loops* < keyword: for, while, break, continue
keyword of exceptions* < keyword: try, except, finally, raise, assert
keyword of imports* < keyword: import, from, as
keyword of logic* < keyword: and, or, not, in, is
keyword of leaving* < keyword: return, yield, pass, del
keyword of scopes* < keyword: global, nonlocal, with, async, await
constant*: True, False or None
""",
    "operator": """
operator: a sign that computes, compares or assigns
arithmetic < operator: + - * / // % ** @
comparison sign < operator: == != < > <= >=
bitwise sign < operator: & | ^ ~ << >>
assignment sign < operator: = and := and those that compute first
augmented assignment < assignment sign: += and its like
= of a statement < assignment sign: not in brackets
= of an argument or default < assignment sign: in round brackets
binary minus < arithmetic: between two operands
sign of a number < arithmetic: a minus or plus before one operand
star that multiplies < arithmetic: between two operands
star that unpacks < operator: before a list of arguments or of parameters
punctuation: comma, colon, semicolon, dot, arrow, ellipsis
colon of a block < punctuation: opens one
colon of a slice or annotation < punctuation: in square brackets, or after a name
colon of a dictionary < punctuation: in curly brackets
comma in ( < punctuation: innermost bracket is round
comma in [ < punctuation: innermost bracket is square
comma in { < punctuation: innermost bracket is curly
comma outside brackets < punctuation: in no bracket
""",
    "bracket": """
bracket: one of ( ) [ ] { }
opening bracket < bracket: ( [ {
closing bracket < bracket: ) ] }
inside a bracket: at least one is open
in ( < inside a bracket: the innermost open one is round
in [ < inside a bracket: the innermost open one is square
in { < inside a bracket: the innermost open one is curly
bracket depth 1 < inside a bracket: one is open
bracket depth 2 < inside a bracket: two are open
bracket depth 3 < inside a bracket: three are open
bracket depth 4 or more < inside a bracket: at least four are open
""",
    "number": """
number: a number literal
whole number < number: without point or exponent
zero < whole number: 0
one < whole number: 1
one digit < whole number: 0 to 9
several digits < whole number: 10 and above
hexadecimal < whole number: 0x
octal < whole number: 0o
binary < whole number: 0b
float < number: with a point or an exponent
imaginary < number: with j
""",
    "name": """
name*: a word that is no keyword
lower-case name* < name: only small letters
snake_case* < name: small words with underscores between
CamelCase* < name: large and small letters, a large one first
CONSTANT_CASE* < name: large letters, more than one
name of one letter* < name: one letter
name with _ before* < name: begins with one underscore
name with a digit* < name: holds a digit
dunder* < name: between two underscores on either side
self* < name: self
cls* < name: cls
builtin* < name: a built-in that is no exception, not after a dot
exception name* < name: a built-in exception
attribute* < name: after a dot
attribute of self* < attribute: after self.
attribute that is called* < attribute: a bracket follows: a method's name
attribute that is assigned* < attribute: on the left of =
function that is called* < name: a bracket follows, and no dot is before
class that is called* < function that is called: and it begins with a large letter
name of a keyword argument* < name: before = in a call
name that is read* < name: a variable that is looked up
name that is assigned* < name: a variable on the left of =
loop variable* < name that is assigned: what for assigns
comprehension variable* < name that is assigned: what a comprehension assigns
with variable* < name that is assigned: behind as in with
""",
    "definition": """
defined name*: behind def or class
function name* < defined name: behind def
plain function name* < function name: not in a class
method name* < function name: in a class
dunder method name* < method name: between two underscores on either side
private function name* < function name: begins with one underscore
test function name* < function name: begins with test
property name* < method name: decorated with property
async function name* < function name: behind async def
nested function name* < plain function name: inside a function
class name* < defined name: behind class
base class: between the brackets behind a class's name
decorator: behind @
parameter*: a name between the brackets of def
first parameter* < parameter: of all
keyword-only parameter* < parameter: behind a star
starred parameter* < parameter: takes the rest, behind * or **
lambda parameter*: a name between lambda and its colon
default value: behind = between the brackets of def
annotation: says of what type something is
annotation of a parameter < annotation: between the brackets of def
annotation of a result < annotation: behind ->
annotation of a variable < annotation: in a statement
parameter list: everything between the brackets of def
""",
    "import": """
import statement: import or from
plain import < import statement: import x
import from < import statement: from x import y
imported module*: a module's name in an import
imported name*: a name behind from x import
alias*: a name behind as in an import
relative import < import from: from . import
import inside a function < import statement: not at the top
""",
    "expression": """
expression of return: behind return
expression of raise: behind raise
expression of assert: behind assert
expression of yield: behind yield
expression of await: behind await
condition of if: between if and its colon
condition of while: between while and its colon
what for goes over: between in and the colon
context manager: between with and its colon
caught exception: between except and its colon
expression of del: behind del
right side of =: what is assigned
right side of augmented =: what is added, and its like
left side of =: what is assigned to
call: a whole call, its name too
call in a call < call: is an argument
argument: in the brackets of a call, not by name
first argument < argument: of all
second argument < argument: of all
third or later argument < argument: of all
keyword argument: a name, = and its value
starred argument: unpacked by * or **
value of a keyword argument < keyword argument: behind its =
subscript: between square brackets behind a value
slice < subscript: with a colon
string as subscript < subscript: a string constant
number as subscript < subscript: a number constant
lambda: from lambda to its end
body of a lambda < lambda: behind its colon
conditional expression: x if y else z
comprehension: of any kind
list comprehension < comprehension: in square brackets
set or dictionary comprehension < comprehension: in curly brackets
generator expression < comprehension: in round brackets
list display: [x, y]
tuple: x, y
set display: {x, y}
dictionary display: {x: y}
value in a dictionary < dictionary display: behind a colon
key in a dictionary < dictionary display: before a colon
comparison: x < y and its like
membership test < comparison: in and not in
identity test < comparison: is and is not
test for None < identity test: is None, is not None
boolean expression: and, or
negation: not x
arithmetic expression: of binary operators
sum or difference < arithmetic expression: + -
product or quotient < arithmetic expression: * / // %
percent of a string < product or quotient: a string on its left
bitwise expression < arithmetic expression: & | ^ << >>
attribute access: x.y, whole
chain of attributes < attribute access: x.y.z
call of print < call: print(...)
call of isinstance < call: isinstance(...)
call of len < call: len(...)
call of a method < call: x.y(...)
call of a method of self < call of a method: self.y(...)
call of super < call: super(...)
call of a method of super < call of a method: super().y(...)
""",
    "block": """
in a function: from def to its end
in a method < in a function: defined in a class
in __init__ < in a method: of that name
in a dunder method < in a method: between two underscores
in a property < in a method: decorated with property
in a static or class method < in a method: decorated so
in a private function < in a function: its name begins with one underscore
in a test < in a function: its name begins with test
in a generator < in a function: it yields
in an async function < in a function: behind async def
in a nested function < in a function: defined inside a function
in a decorated function < in a function: it has a decorator
in a class: from class to its end
in the body of a class < in a class: not in one of its methods
in a nested class < in a class: defined inside another class or a function
in a test class < in a class: its name begins or ends with Test, or its base is TestCase
in an exception class < in a class: its name ends with Error or Exception
outside functions and classes: at the top of a module
in a loop: in the body of for or while
in for < in a loop: in its body
in while < in a loop: in its body
in a loop in a loop < in a loop: two at least
in if: in its body
in else: behind else of an if
in a branch in a branch: two ifs at least
in try: in its body
in except: in its body
in finally: in its body
in with: in its body
in match: in its body
in if __main__ < in if: where a module is run
block depth 0: in no block
block depth 1: in one
block depth 2: in two
block depth 3: in three
block depth 4: in four
block depth 5 or more: in at least five
""",
    "line": """
indentation: space before a line's first word
indentation 4 < indentation: 1 to 4 columns
indentation 8 < indentation: 5 to 8 columns
indentation 12 < indentation: 9 to 12 columns
indentation 16 or more < indentation: 13 columns and more
line at column 0: a line of code with no space before
line at column 4: of code, with 1 to 4
line at column 8: of code, with 5 to 8
line at column 12: of code, with 9 to 12
line at column 16 or more: of code, with 13 or more
end of a line: the characters that end a line of code
blank line: a line of nothing but space
line that goes on: a line inside a bracket that a line before opened
first word of a line: of a line of code
last word of a line: of a line of code
first word of a statement: of any statement
only word of a line < first word of a line: there is no other
first line of a file: the first that is not empty
""",
    "statement": """
statement of one line: the whole of a simple statement that fills no second line
statement of several lines: the whole of a simple statement that does
expression statement: a value that is not kept
call statement < expression statement: a call that is not kept
assignment: the whole of it
assignment of a call < assignment: the value is a call
assignment of a constant < assignment: the value is a literal
assignment to an attribute < assignment: x.y = z
assignment to self < assignment to an attribute: self.y = z
assignment to a subscript < assignment: x[y] = z
assignment of several < assignment: to a tuple, or with two =
annotated assignment: x: y = z
augmented assignment statement: x += y and its like
return statement: the whole of it
return of a call < return statement: the value is a call
return of a constant < return statement: the value is a literal
raise statement: the whole of it
raise of a call < raise statement: an exception with arguments
assert statement: the whole of it
del statement: the whole of it
pass statement: the whole of it
break or continue: the whole of it
global or nonlocal: the whole of it
line of def: from def to its colon
line of class: from class to its colon
line of if: from if to its colon
line of elif: from elif to its colon
line of for: from for to its colon
line of while: from while to its colon
line of with: from with to its colon
line of except: from except to its colon
""",
}


def python_concepts() -> ConceptSet:
    """All of them, parents before the words that are kinds of them."""
    return ConceptSet((*_declared(), *_words()))


def _declared() -> Iterator[Concept]:
    for group, lines in _DECLARED.items():
        for line in lines.strip().split("\n"):
            head, about = line.split(": ", 1)
            name, _, parents = head.partition(" < ")
            above = tuple(parents.split(", ")) if parents else ()
            token = LAST if name.endswith("*") else EVERY
            yield Concept(name.rstrip("*"), group, about, above, token)


def _words() -> Iterator[Concept]:
    for parent, words in KEYWORDS.items():
        for word in words.split():
            assert keyword.iskeyword(word)
            yield Concept(f"keyword {word}", "keyword", word, (parent,), LAST)
    for parent, signs in SIGNS.items():
        group = "bracket" if "bracket" in parent else "operator"
        for sign in signs.split():
            yield Concept(f"sign {sign}", group, sign, (parent,))
    for parent, family in FAMILIES.items():
        group = "import" if parent == "imported module" else "name"
        for word in family:
            yield Concept(f"{parent} {word}", group, word, (parent,), LAST)
