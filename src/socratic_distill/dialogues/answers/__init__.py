r"""What counts as a problem's answer: one rule for each kind, with one interface. Pure.

A rule says of a student's reply whether it gives the answer, of a tutor's turn whether it reveals the answer, and where
in a text the answer stands. Rules read texts alone. Answers of the kinds "judged" and "function" have no rule: a model
or a function of the user gives a verdict on a turn when it is played, and the turn keeps it.

| module | what it does |
|---|---|
| `kinds` | the table of rules |
| `detection` | the kind of an answer that a file does not state |
| `number_rule`, `expressions`, `choices`, `wordings` | the rules of the kinds number, expression, choice and text |
| `numbers` | finds numbers in text, and compares them |
| `digits` | digits of other scripts |
| `locales` | numbers as other countries write them |
| `amounts` | numbers with the words and signs that change their value |
| `number_words` | numbers in English words |
| `calculations` | numbers that are no answer alone: operands, bounds, ranges, alternatives |
| `units` | units of numbers, and the factors between them |
| `formulas`, `algebra` | finds formulas in text: in LaTeX, in prose |
| `symbolic` | compares formulas by math-verify, within limits |
| `letters`, `ordinals` | which single letters of a text, and which positions, name a choice |
| `boxes` | the contents of `\boxed{}` |
| `claims` | which number or formula of a text its speaker gives as the answer |
| `words` | the words of a text, as wordings are compared |
"""
