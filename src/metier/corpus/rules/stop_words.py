"""The commonest function words of some languages: whoever writes sentences in one cannot do without them."""

from __future__ import annotations

# English: the eight of Rae et al. 2021, appendix A1.1. The others in their manner: articles, conjunctions, prepositions
# and auxiliaries that stand among the most frequent words of the language, and are no words of content. Chinese and
# Japanese are single characters, since each of those is a token.
STOP_WORDS: dict[str, tuple[str, ...]] = {
    language: tuple(words.split())
    for language, words in {
        "en": "the be to of and that have with",
        "cs": "a je se na že v to s do pro jako jsou které nebo při",
        "da": "og i at det er en den til på som af med for ikke der",
        "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine",
        "es": "de la que el en y los se del las por un para con una",
        "fi": "ja on ei että se tai ovat joka kun myös mutta niin voi sen ole",
        "fr": "de la le et les des en un du une que est pour qui dans",
        "hu": "a az és hogy nem is egy ez meg csak vagy mint de van lehet",
        "id": "yang dan di untuk dengan dari pada ini dalam tidak adalah atau ke akan oleh",
        "it": "di e il la che in un a per è una sono della con del",
        "ja": "の に は を た が で と し れ さ る い も な",
        "ko": "이 그 및 수 등 것 있는 하는 있다 또는 한다 때 더 대한 위해",
        "nl": "de van het een en in is dat op te zijn met voor niet aan",
        "no": "og i det er en til på som av med for ikke den at et",
        "pl": "i w na z do się nie jest to że o jak przez dla lub",
        "pt": "de a o que e do da em um para com uma os no não",
        "ro": "de și în la cu pe nu o care un este pentru din sau să",
        "ru": "и в не на с что по как для это из к или от при",
        "sv": "och att det i en är som på för av med till den inte om",
        "tr": "ve bir bu için ile de da olarak olan veya gibi daha çok en ise",
        "uk": "і в на з не що до та для це як або від при є",
        "vi": "và của là có trong được cho các một không với này để khi những",
        "zh": "的 是 在 不 了 和 有 这 個 个 这 為 为 以 于 會 会 可 與 与 中 上 到 也",
    }.items()
}
