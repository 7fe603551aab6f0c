"""What counts as a problem's answer: one rule for each kind, behind one interface. Pure.

A rule says of a student's reply whether it gives the answer, of a tutor's turn whether it reveals the answer, and where
in a text the answer stands. Rules read texts alone. Answers of the kinds "judged" and "function" have no rule: a model
or a function of the user gives a verdict on a turn when it is played, and the turn keeps it.

| module | what it does |
|---|---|
| `numbers` | finds numbers in text, and compares them |
| `kinds` | the table of rules |
"""
