"""General requests and general text: what a model should not lose while it learns a trade. Written for this purpose."""

REQUESTS = (
    "Explain in two sentences why the sky is blue.",
    "Write a short letter that thanks a neighbour for looking after a cat.",
    "List three things to check before a long journey by car.",
    "What is the difference between weather and climate?",
    "A box holds 24 eggs and 5 are broken. How many are whole, and how do you know?",
    "Summarise the story of Cinderella in one sentence.",
    "How do I boil an egg so that the yolk stays soft?",
    "Name a good reason to learn a second language.",
)

TEXTS = (
    "The market opened at six, when the street was still wet from the night. Farmers unloaded crates of apples, and a "
    "baker set out loaves under a striped awning. By eight o'clock there was hardly room to walk, and the talk was of "
    "the price of flour and of the bridge that had been closed since Tuesday.",
    "Water expands when it freezes, which is why ice floats and why pipes burst in winter. Most substances do the "
    "opposite: they shrink as they turn solid. The difference comes from the way the molecules of water arrange "
    "themselves into an open lattice, with more space between them than in the liquid.",
    "A good map leaves things out. If it showed every tree and every stone, it would be as large as the country and as "
    "hard to read. The maker has to decide what the reader is looking for: the walker wants paths and streams, the "
    "driver wants roads, and the pilot wants heights.",
    "When the committee met in spring, it had two proposals before it. The first would have cost less but taken three "
    "years; the second was dearer and could begin at once. After a long discussion the members chose neither, and "
    "asked the engineers to find out how much of the old building could be kept.",
)
