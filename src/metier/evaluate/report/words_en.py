"""Every word of the page in English."""

from __future__ import annotations

from collections.abc import Mapping

from metier.evaluate.report import words_findings
from metier.evaluate.report.metrics import Subject

ENGLISH: Mapping[str, str] = {
    "lang": "en",
    "title": "What the model has learnt",
    # --- headline
    "verdict": "In short",
    "one_model": "“{base}” was examined, and nothing else: there is nothing to hold it against.",
    "learnt_some": "“{final}” is clearly better than “{base}” in {better} of {count} measures of the trade{rest}.",
    "learnt_none": "“{final}” is not clearly better than “{base}” in any of {count} measures of the trade{rest}.",
    "learnt_unmeasured": "No measure of the trade was taken on both “{base}” and “{final}”.",
    "lost_none": "Of {count} measures of what “{base}” could do before, none got clearly worse.",
    "lost_some": "Of {count} measures of what “{base}” could do before, {worse} got clearly worse.",
    "lost_unmeasured": "Nothing was measured that could tell what was forgotten.",
    "way_both": "Asked as “{way}”, the same model is clearly better than “{final}” in {better}, and clearly worse in"
    " {worse}.",
    "way_better": "Asked as “{way}”, the same model is clearly better than “{final}” in {better}, and nowhere clearly"
    " worse.",
    "way_worse": "Asked as “{way}”, the same model is clearly worse than “{final}” in {worse}, and nowhere clearly"
    " better.",
    "way_same": "Asked as “{way}”, the same model is nowhere clearly better or worse than “{final}”.",
    "control_better": "The control “{control}” does not explain all of it: against it, “{final}” differs by {change} in"
    " “{what}”.",
    "control_worse": "The control “{control}” does better than “{final}” in “{what}” ({change}): what changed there"
    " need not come from the trade's data.",
    "control_unclear": "The control “{control}” may explain the change in “{what}”: “{final}” is not clearly better"
    " ({change}).",
    "control_changed": "Against the control “{control}”, “{final}” differs by {change} in “{what}”.",
    "control_unknown": "Against the control “{control}”, “{final}” differs by {change} in “{what}”; there is no"
    " interval.",
    "clear_means": "A change is called clear where the 95% interval of the difference excludes no change.",
    "group_better": "Learnt: clearly better",
    "group_worse": "Lost: clearly worse",
    "group_neither": "Neither learnt nor lost",
    "next": "What to do next",
    "next_forgetting": "Win back what was forgotten: most of the loss in “{what}” came with “{stage}”. Raise the"
    " share of replayed general text and conversations there, or lower its learning rate.",
    "next_worse": "Read the lost answers below before anything else: “{what}” got worse although it belongs to the"
    " trade.",
    "next_wording": "Add phrasings: {seen} are right in wording seen in training, {new} in new wording. More ways to"
    " ask the same thing help here; more epochs only memorise.",
    "next_kinds": "Add kinds of task: only {new} are right for kinds never trained on, against {seen} for trained"
    " ones.",
    "next_way_both": "Ask as “{way}” only what gains by it ({better}), and the rest plainly: there it loses ({worse})."
    " An intent router can tell them apart.",
    "next_way_better": "Serve it as “{way}”: it gains in {better} and clearly loses nowhere.",
    "next_way_worse": "Do not serve it as “{way}”: it loses in {worse} and clearly gains nowhere.",
    "next_way_same": "Serve it plainly: “{way}” shows no clear gain, and costs longer prompts.",
    "next_stage": "Question the last stage: no measure shows “{final}” clearly better than “{before}”. Leave it out,"
    " or give it more data or a higher learning rate.",
    "next_control": "Be careful with “{what}”: “{final}” is not clearly better there than the control “{control}”,"
    " so the change need not come from the trade's data.",
    "next_more_items": "Examine with more items: measures of the trade without a clear change: {count}; the smallest"
    " rests on only {n} items, where only a large change could be seen.",
    "next_nothing": "Find out why nothing was learnt: do the loss curves fall, does the ledger show the documents"
    " that you meant, is the learning rate too low?",
    "next_serve": "Serve it and let people use it; their feedback is the next training data.",
    # --- radar
    "rule_as_is": "as measured: the share that is right",
    "rule_unwanted": "1 − share: 1 is never",
    "rule_against_base": "1 − perplexity ÷ (2 × base's): 0.5 is the base, 0.6 is 20% below it",
    "rule_kept": "base's perplexity ÷ perplexity: 1 is nothing forgotten, 0.5 is doubled",
    # --- figures
    "figures": "All figures",
    "figures_paired": "Differences are taken item by item on the same items, which is why their intervals can be"
    " narrower than the figures' own.",
    "figures_unpaired": "Differences marked * are worked out from the two figures' own intervals, as if they came"
    " from different items: too wide rather than too narrow.",
    "model": "Model",
    "value": "Value",
    "items": "n",
    "difference": "Difference to {base}",
    "is_base": "the base",
    "control": "control",
    "no_interval": "no interval",
    "chance_is": "dashed: chance, {chance}",
    "higher": "higher is better",
    "lower": "lower is better",
    "direction_unknown": "which way is better is not known to this page",
    "verdict_better": "clearly better",
    "verdict_worse": "clearly worse",
    "verdict_unclear": "no clear change",
    "verdict_changed": "clearly changed",
    "verdict_unknown": "cannot be judged",
    # --- training
    "training": "Training",
    "training_lead": "The loss at each logged step over the tokens trained on so far; the bold line is the mean of"
    " neighbouring steps. Losses of different stages are not comparable: they are measured on different things.",
    "loss_alt": "Loss of {title} over trained tokens: from {first} to {last} (means).",
    "loss_caption": "{steps} logged steps, {tokens} tokens; from {first} to {last} (mean of {window}).",
    "loss_again": "Steps logged again after a restart: {again}; the later log is drawn.",
    "loss_not_finite": "Logged losses that are not finite numbers, and so not drawn: {count}.",
    "loss_table": "The numbers behind the curve",
    "loss": "loss",
    "tokens_trained": "tokens trained on",
    "step": "Step",
    "learning_rate": "Learning rate",
    # --- ledger
    "ledger": "From file to training token",
    "ledger_lead": "Every hand-over, and what fell away at it, with the reason. A bar's full width is all that came"
    " to that hand-over; what leaves can be counted in another unit.",
    "ledger_adds_up": "The totals add up: {lines} ledger lines (came = kept + dropped) and {handovers} hand-overs"
    " between steps (sent = received) were added up again for this page.",
    "ledger_elsewhere": "Lines about steps that are not on this page, checked when they were made: {count}.",
    "ledger_from": "from {senders}",
    "came": "came",
    "kept": "kept",
    "all_kept": "nothing dropped",
    "made": "leaves as",
    "ledger_table": "The ledger as a table",
    "reason": "Reason",
    "count": "Count",
    "unit": "Unit",
    "stage": "Stage",
    "share": "Share",
    "none_came": "none came",
    # --- answers
    "answers_lead": "Of {count} graded items, from “{base}” to “{final}”: {won} won, {lost} lost, {kept} right in"
    " both, {missed} wrong in both.",
    "answers_rule": "Chosen by rule, not by hand: up to 3 won, 3 lost, 2 right in both and 2 wrong in both; within"
    " each, the kinds of task in turn, and in the order of the SHA-256 of the item's id. Free places go to the other"
    " groups. Where marks are partial, an answer counts as right from half of them.",
    "outcome_won": "won",
    "outcome_lost": "lost",
    "outcome_kept": "right in both",
    "outcome_missed": "wrong in both",
    "question": "Question",
    "expected": "Expected",
    "right": "right",
    "wrong": "wrong",
    "not_graded": "not graded",
    "not_asked": "not asked",
    "empty_answer": "(an empty answer)",
    "cut": "… cut here; {count} characters in all",
    # --- forgetting
    "forgotten": "What was forgotten",
    "forgotten_lead": "Teaching a trade costs a model some of what it could do before. Perplexity on raw general"
    " text alone would not show it: it can even improve while the model forgets how to hold a conversation.",
    "forgotten_items": "{lost} of the {could} items that “{base}” had right are wrong in “{final}”.",
    "forgotten_stage": "The largest clear loss between two stages came with “{stage}” ({change}).",
    # --- how it was made
    "how": "How it was made",
    "page_key": "This page is {key}. The first 16 digits of a key name the artifact's folder; the key is a hash of"
    " the step's settings and of everything it was made from.",
    "key": "Key",
    "took": "Took",
    "attempts": "Attempts",
    "finished": "Finished (UTC)",
    "total": "all together",
    "versions": "Versions",
    "versions_differ": "steps were made with different versions",
    "hosts": "Machines",
    "no_gpu": "no accelerator",
    "warnings": "Warnings",
    "warnings_none": "No step gave a warning.",
    "parity": "Parity of the export",
    "parity_lead": "What leaves the house was compared with what was trained.",
    "conditions": "Conditions of the exam",
    "check": "Check",
    "result": "Result",
    "yes": "yes",
    "no": "no",
    # --- limits
    "limits": "Limits",
    "limit_seed": "Each model was trained once, with one seed. Another seed would give other figures; the intervals"
    " tell about other items, not about other trainings.",
    "limit_n": "The figures rest on {low} to {high} items each. With few items, only large changes can be seen: no"
    " clear change does not mean no change.",
    "limit_cluster": "Items that belong together (one document, one database schema) are less than independent. The"
    " intervals are over such groups where the exam names them; where there are few groups, they are still rough.",
    "limit_exam": "The exam was drawn from the held-out part of the same material, and by the same makers as the"
    " training data. How the model does on your users' questions, only your users' questions can tell.",
    "limit_answers": "The answers shown are examples; the figures count all items.",
    # --- the page
    "made_on": "Made {date}. This page is one file, loads nothing from anywhere, and works offline.",
    "contents": "Contents",
    "language": "Language",
    "span": "{low} to {high}",
    "points": "{value} points",
    "milliseconds": "{value} ms",
    "seconds": "{value} s",
    "minutes": "{minutes} min {seconds} s",
    "hours": "{hours} h {minutes} min",
    "list": ", ",
    "from_to": "from {before} to {after}",
    "interval": "95% interval",
    "between": " to ",
    "other_models": "The other {count} models, {right} of them right",
    "show_numbers": "The numbers",
    "learnt_one": "“{final}” is clearly better than “{base}” in the one measure of the trade.",
    "learnt_all": "“{final}” is clearly better than “{base}” in all {count} measures of the trade.",
    "rest_worse": ", clearly worse in {worse}",
    "rest_unclear": ", without a clear change in {unclear}",
    # --- was training needed
    "needed": "Was the training needed?",
    "needed_enough": "{what} is enough",
    "needed_enough_why": "“{label}” is as good as “{final}”: within {bound} points in every graded measure of the"
    " trade.",
    "needed_maybe": "{what} may be enough",
    "needed_maybe_why": "“{label}” is not clearly worse than “{final}” in any graded measure of the trade. This exam"
    " could miss a loss of up to {most} points; more items would tell.",
    "needed_untold": "This exam is too small to tell",
    "needed_yes": "The training was needed",
    "needed_yes_why": "However the untrained model was asked, it is clearly worse than “{final}” in at least one graded"
    " measure of the trade.",
    "needed_rule": "Held against “{final}” item by item. The chance of any false “clearly worse” over all measures of a"
    " baseline is at most 5% (Holm). The last column is the largest loss that the 95% intervals still allow.",
    "baseline": "Baseline",
    "what_plain": "The untrained base model",
    "what_shots": "Few-shot",
    "what_passages": "RAG alone",
    "what_both": "Few-shot with RAG",
    "asked": "Asked",
    "asked_plainly": "plainly",
    "asked_shots": "with {count} examples",
    "asked_passages": "with passages ({count} at most)",
    "needed_is_worse": "clearly worse",
    "needed_is_close": "as good",
    "needed_is_unclear": "not clearly worse",
    "needed_most": "Loss that could be missed",
    "worse_in": "clearly worse in {what}",
    # --- dimensions
    "radar": "What each model knows",
    "radar_by_dimension": "The share of right answers in each dimension of the exam. Further out is better: 0 is the"
    " centre, 1 the rim. The table holds the same values with their intervals.",
    "radar_by_figure": "Further out is better. Each axis goes from 0 in the centre to 1 at the rim; the table holds the"
    " values that are drawn, and below them the figures as they were measured.",
    "radar_alt": "Radar chart of {models} over {count} dimensions; the table below holds the same values.",
    "radar_pick": "Models shown",
    "radar_scale": "How it is scaled",
    "dimension": "Dimension",
    "dim_terminology": "Terminology",
    "dim_syntax": "Syntax",
    "dim_disambiguation": "Disambiguation",
    "dim_understanding": "Understanding",
    "dim_reasoning": "Reasoning",
    "dim_task": "Task: {task}",
    "outcomes": "Won and lost, from “{base}” to “{final}”",
    "net": "Won less lost",
    "share_right": "right, with 95% interval, and change to “{base}”",
    # --- figures
    "figures_lead": "Each with its 95% interval and the number of items n. Differences are to “{base}”; perplexities"
    " are compared as ratios, shares in percentage points.",
    # --- answers
    "answers": "Answers, side by side",
    "marks": "{score} of 1",
    # --- benchmarks
    "benchmarks": "Public benchmarks",
    "benchmarks_lead": "What the models can do outside the trade. Each change to “{base}” has its 95% interval; a clear"
    " fall is something forgotten.",
    "benchmarks_lost": "Clearly worse than “{base}”: {what}.",
    "benchmarks_none_lost": "No benchmark got clearly worse in “{final}”.",
    # --- calibration
    "calibration": "Does it know what it knows?",
    "calibration_lead": "Confidence is the probability that the model gives to the option it chose, among all options"
    " of the question. Each mark is a group of choices of like confidence: on the diagonal, the model is right as often"
    " as it is sure; below it, it is too sure.",
    "calibration_alt": "Reliability diagram of {model}: expected calibration error {error} over {n} choices.",
    "confidence": "confidence",
    "is_right": "right",
    "ece": "Expected calibration error",
    "ece_short": "error",
    "by_chance": "by chance alone",
    "excess": "Confidence less share right",
    "too_sure": "too sure",
    "not_sure_enough": "not sure enough",
    "no_clear_bias": "neither too sure nor too unsure",
    "calibration_note": "The expected calibration error is the mean distance between confidence and share right over"
    " groups of equally many choices (Guo et al. 2017); its interval is a bootstrap over clusters. “By chance alone” is"
    " what a perfectly calibrated model would show with as many choices.",
    # --- judge
    "judge": "What the judge preferred",
    "judge_trusted": "The judge “{judge}” agrees with people: Cohen's κ {kappa} over {labels} labels.",
    "judge_not_trusted": "The judge “{judge}” does not agree with people well enough to be trusted: Cohen's κ {kappa}"
    " over {labels} labels; {wanted} and clearly above chance was wanted.",
    "judge_contradicts": "The judge “{judge}” contradicts itself: in {disagreed} of pairs it decided otherwise when the"
    " answers changed places, which a coin does in half of them. These figures are no finding: take a larger judge, or"
    " let it grade answers one by one (way: rubric).",
    "judge_unvalidated": "Nobody has checked the judge “{judge}” against labels by people: take this as a hint.",
    "judge_wins": "Won",
    "judge_ties": "Tied",
    "judge_losses": "Lost",
    "judge_elo": "Strength (Bradley–Terry, Elo scale)",
    "judge_grade": "Grade: {criterion}",
    "judge_all": "all criteria",
    "judge_order": "Shown in the other order, it judged otherwise in {disagreed} of pairs; those count as ties.",
    "judge_length": "The longer answer won {share} of decided pairs: 50% would mean that length did not count.",
    "judge_pairs": "Pair by pair",
    "judge_first": "First",
    "judge_second": "Second",
    # --- decoding
    "decoding": "How it should decode",
    "decoding_won": "The best of {count} settings is {setting}; it is the model's default now.",
    "decoding_greedy": "No sampled setting is clearly better than greedy decoding, which was kept. {count} were tried.",
    "decoding_confirmed": "On {count} questions that were not searched with, greedy decoding scores {greedy}, the best"
    " of the search {best}.",
    "decoding_noise": "A gain of less than about {noise} points could not have been seen there.",
    "setting": "Setting",
    "score": "Score",
    "to_best": "To the best",
    "dropped_after": "left out after round {round}",
    "winner": "chosen",
    "greedy": "greedy",
    # --- speed
    "speed": "How fast it answers",
    "speed_lead": "Tokens a second over all requests at a time, with the 95% interval over repeats, and the time to the"
    " first token: the median, and what 95 of 100 requests stay below.",
    "concurrency": "Requests at a time",
    "prompt_tokens": "Prompt tokens",
    "output_tokens": "Answer tokens",
    "tokens_per_second": "Tokens a second",
    "first_token": "First token",
    "memory": "Memory",
    "repeats": "Repeats",
    "errors": "Errors",
    "p50_p95": "{p50}; 95%: {p95}",
    # --- cost
    "cost": "What it cost",
    "cost_training": "Training",
    "cost_answering": "Answering the exam",
    "parameters": "Parameters",
    "tokens": "Tokens",
    "tokens_written": "Tokens written",
    "tokens_each": "Tokens an answer",
    "answer_count": "Answers",
    "time": "Time",
    "peak_memory": "Peak memory",
    "predicted_memory": "{size} foreseen",
    "cost_note": "Time is that of the whole step on the machine named below; the examination's includes multiple choice"
    " and reading texts for their perplexity.",
    # --- how it was made
    "host_line": "{system}; {cores} cores, {threads} threads, {memory} GB of memory, {gpus}",
    # --- limits
    "limit_many": "{count} differences to the base are judged on this page, each by a 95% interval. Even if nothing"
    " had changed, about {chance} of them would be called clear by chance.",
    **words_findings.ENGLISH,
}

NAMES: Mapping[Subject, tuple[str, str]] = {
    Subject("perplexity", "held_out"): ("Held-out documents: perplexity", "domain\ntext"),
    Subject("perplexity_per_byte", "held_out"): ("Held-out documents: perplexity per byte", "domain\ntext"),
    Subject("perplexity", "general"): ("General text: perplexity", "general\ntext"),
    Subject("perplexity_per_byte", "general"): ("General text: perplexity per byte", "general\ntext"),
    Subject("multiple_choice", "held_out"): ("Multiple choice from held-out documents", "multiple\nchoice"),
    Subject("execution", "seen_wording"): ("Text to SQL, trained wording", "SQL: trained\nwording"),
    Subject("execution", "new_wording"): ("Text to SQL, new wording", "SQL: new\nwording"),
    Subject("execution", "new_kind"): ("Text to SQL, new kinds of question", "SQL: new\nkinds"),
    Subject("execution", "repair"): ("Repair of broken SQL", "SQL\nrepair"),
    Subject("agreement", "held_out"): ("Questions on held-out documents: agreement", "document\nquestions"),
    Subject("chat_reply_perplexity", "general_prompts"): ("The base's own replies: perplexity", "base's\nreplies"),
    Subject("sql_to_general_prompts", "general_prompts"): ("General prompts answered in SQL", "no stray\nSQL"),
}

METRICS: Mapping[str, str] = {
    "perplexity": "Perplexity",
    "perplexity_per_byte": "Perplexity per byte",
    "multiple_choice": "Multiple choice",
    "execution": "Text to SQL",
    "agreement": "Agreement with the reference",
    "program": "Programs that pass their tests",
}
