"""Published suites: tutors measured so that others can compare, and judges measured against people.

| module | does |
|---|---|
| `order` | a suite as a user asked for it, and what each tutor is |
| `measuring` | asks tutors or a judge, and counts |
| `catalogue` | the suites by name |
| `suite` | what a suite, an item and an answer are |
| `mathtutorbench`, `mathtutorbench_scores` | MathTutorBench: its items, and how it counts |
| `mrbench` | how far a judge agrees with people |
| `solving`, `choices`, `texts` | what a tutor can still do: problems, multiple choice, plain text |
| `learning` | EducationQ's figures of learning |
| `asking` | asks a model the items |
| `items`, `results` | answers and results in a run directory |
| `definitions` | what each measure means |
| `statistics` | kappa and averages of F1, with intervals |
| `reading` | the suites' files |
"""
