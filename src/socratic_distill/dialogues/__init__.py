"""From seeds to played dialogues.

A batch is composed of seeds and recordings. `casting` opens student and teachers, and `rollout` lets tutor and student
take turns. The result is a `Dialogue` with the tokens that were sampled.

| module | does |
|---|---|
| `seed` | a problem, and the kinds of its answer |
| `seeds` | problems, read from users' files |
| `recording` | a recorded dialogue |
| `reading` | users' files as rows, and the published formats of rows |
| `answers` | what counts as the answer, by kind: a rule for each |
| `recordings` | recorded dialogues, read from users' files |
| `batches` | which seeds and recordings a batch has |
| `difficulty` | draws seeds by their solved rates |
| `randomness` | random seeds for sampling, the same on every machine |
| `prompts` | the system prompts |
| `quotes` | what a teacher's prompt may quote of what came after a turn |
| `hindsight` | what came after a turn, in words |
| `dialogue` | `Dialogue` and `Turn`, and each side's view of them |
| `stored` | a dialogue as a run's files hold it |
| `dialogue_html` | a dialogue as a notebook shows it |
| `codec` | text to tokens and back, for one tokenizer |
| `reasoning` | the `<think>` part of a reply |
| `rendering` | messages to tokens, by a model's chat template |
| `channels` | replies in channels (harmony): which part is speech |
| `template_variables` | the variables of a chat template: reasoning, options, the date |
| `routing` | which teachers each seed has |
| `briefing` | which teachers each seed has, and all prompts |
| `students`, `personas` | the simulated students, and which of them has which dialogue |
| `student_casting` | opens the students |
| `remote_speaker` | the turns of a model on another endpoint |
| `teacher_keys` | what makes two teachers the same |
| `speaker` | samples the turns of one side |
| `cast` | tutor, student and teachers, with clients and prompts |
| `casting` | opens student and teachers |
| `vocabulary` | warns of words that a model does not know |
| `compatibility` | refuses models whose tokens, templates or contexts do not fit each other |
| `endings` | what ends a dialogue |
| `verdicts` | whether a turn gives the answer, by a judge or a function of the user |
| `rollout` | plays dialogues |
| `attempts` | the student's own attempts at the problem, before and after a dialogue |
| `rewards` | task rewards of a dialogue |
| `reward_judges` | judges that accept or reject a dialogue by a rubric |
| `reward_sums` | adds up rewards and vetoes |
"""
