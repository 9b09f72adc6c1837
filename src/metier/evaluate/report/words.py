"""Every word of the page, in one place: another language is another mapping with the same keys."""

from __future__ import annotations

from collections.abc import Mapping

from metier.evaluate.report.metrics import Subject

Words = Mapping[str, str]

ENGLISH: Words = {
    "lang": "en",
    "title": "What the model has learnt",
    "made_on": "Made {date}. This page is one file, loads nothing from anywhere, and works offline.",
    "contents": "Contents",
    # --- headline
    "verdict": "In short",
    "one_model": "“{base}” was examined, and nothing else: there is nothing to hold it against.",
    "learnt_all": "“{final}” is clearly better than “{base}” in all {count} measures of the trade.",
    "learnt_some": "“{final}” is clearly better than “{base}” in {better} of {count} measures of the trade{rest}.",
    "learnt_none": "“{final}” is not clearly better than “{base}” in any of {count} measures of the trade{rest}.",
    "learnt_unmeasured": "No measure of the trade was taken on both “{base}” and “{final}”.",
    "rest_worse": "clearly worse in {worse}",
    "rest_unclear": "without a clear change in {unclear}",
    "lost_none": "Of {count} measures of what “{base}” could do before, none got clearly worse.",
    "lost_some": "Of {count} measures of what “{base}” could do before, {worse} got clearly worse.",
    "lost_unmeasured": "Nothing was measured that could tell what was forgotten.",
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
    "nothing_here": "Nothing.",
    "next": "What to do next",
    "next_forgetting": "Win back what was forgotten: most of the loss in “{what}” came with “{stage}”. Raise the"
    " share of replayed general text and conversations there, or lower its learning rate.",
    "next_worse": "Read the lost answers below before anything else: “{what}” got worse although it belongs to the"
    " trade.",
    "next_wording": "Add phrasings: {seen} are right in wording seen in training, {new} in new wording. More ways to"
    " ask the same thing help here; more epochs only memorise.",
    "next_kinds": "Add kinds of task: only {new} are right for kinds never trained on, against {seen} for trained"
    " ones.",
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
    "radar": "All dimensions at a glance",
    "radar_lead": "Further out is better. Each axis goes from 0 in the centre to 1 at the rim; the table holds the"
    " values that are drawn, and beside them the figures as they were measured.",
    "radar_few": "There are fewer than three dimensions, so they are listed rather than drawn.",
    "radar_alt": "Radar chart of {models} over {count} dimensions; the table beside it holds the same values.",
    "radar_scale": "How it is scaled",
    "dimension": "Dimension",
    "rule_as_is": "as measured: the share that is right",
    "rule_unwanted": "1 − share: 1 is never",
    "rule_against_base": "1 − perplexity ÷ (2 × base's): 0.5 is the base, 0.6 is 20% below it",
    "rule_kept": "base's perplexity ÷ perplexity: 1 is nothing forgotten, 0.5 is doubled",
    # --- figures
    "figures": "All figures",
    "figures_lead": "Each with its 95% interval and the number of items n. Differences are to “{base}”; perplexities"
    " are compared as ratios, shares in percentage points.",
    "figures_paired": "Differences are taken item by item on the same items, which is why their intervals can be"
    " narrower than the figures' own.",
    "figures_unpaired": "Differences marked * are worked out from the two figures' own intervals, as if they came"
    " from different items: too wide rather than too narrow.",
    "model": "Model",
    "value": "Value",
    "interval": "95% interval",
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
    "training_none": "No training of this recipe logged its loss.",
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
    "ledger_none": "No ledger was given to this report.",
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
    "answers": "Ten answers, side by side",
    "answers_title_n": "{count} answers, side by side",
    "answers_lead": "Of {count} graded items, from “{base}” to “{final}”: {won} won, {lost} lost, {kept} right in"
    " both, {missed} wrong in both.",
    "answers_rule": "Chosen by rule, not by hand: up to 3 won, 3 lost, 2 right in both and 2 wrong in both; within"
    " each, the kinds of task in turn, and in the order of the SHA-256 of the item's id. Free places go to the other"
    " groups. Where marks are partial, an answer counts as right from half of them.",
    "answers_none": "No item was answered and graded for both “{base}” and “{final}”.",
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
    "marks": "{score} of 1",
    "empty_answer": "(an empty answer)",
    "cut": "… cut here; {count} characters in all",
    # --- forgetting
    "forgotten": "What was forgotten",
    "forgotten_lead": "Teaching a trade costs a model some of what it could do before. Perplexity on raw general"
    " text alone would not show it: it can even improve while the model forgets how to hold a conversation.",
    "forgotten_items": "{lost} of the {could} items that “{base}” had right are wrong in “{final}”.",
    "forgotten_stage": "The largest clear loss between two stages came with “{stage}” ({change}).",
    "forgotten_unmeasured": "None of the figures that tell forgetting was taken: examine the perplexity of the"
    " base's own replies, or general text.",
    "from_to": "from {before} to {after}",
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
    "host_line": "{system}; {cores} cores, {threads} threads, {memory} GB of memory, {gpus}",
    "no_gpu": "no accelerator",
    "warnings": "Warnings",
    "warnings_none": "No step gave a warning.",
    "parity": "Parity of the export",
    "parity_lead": "What leaves the house was compared with what was trained.",
    "parity_none": "The export says nothing about parity.",
    "conditions": "Conditions of the exam",
    "conditions_lead": "The same for every model on this page.",
    "export_none": "No export was given to this report.",
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
    "limit_many": "{count} differences to the base are judged on this page, each by a 95% interval. Even if nothing"
    " had changed, about {chance} of them would be called clear by chance.",
    "limit_exam": "The exam was drawn from the held-out part of the same material, and by the same makers as the"
    " training data. How the model does on your users' questions, only your users' questions can tell.",
    "limit_answers": "The answers shown are examples; the figures count all items.",
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


def counted(count: int, unit: str) -> str:
    """Return "1 document" or "1,424 conversations"; ledgers name their units in the singular."""
    return f"{count:,} {unit}" + ("" if count == 1 else "s")


def name_of(subject: Subject) -> str:
    """Return what the page calls a figure; an unknown one keeps its own name."""
    known = NAMES.get(subject)
    return known[0] if known else f"{subject.name} ({subject.split})".replace("_", " ")


def axis_of(subject: Subject) -> str:
    """Return the short label of a figure on the radar, in two lines at most."""
    known = NAMES.get(subject)
    return known[1] if known else f"{subject.name}\n{subject.split}".replace("_", " ")
