"""The words around which names and addresses are looked for, as literals for the scanner."""

from __future__ import annotations

from collections.abc import Iterable

from metier.corpus.anonymise import addresses, chinese_names
from metier.corpus.anonymise.gazetteer import FAMILY_NAMES, given_names
from metier.corpus.anonymise.kinds import Kind, Language
from metier.corpus.anonymise.literals import Act, Cue, Literal, Where

# A tilde stands for a space.
_LATIN: dict[Cue, str] = {
    Cue.TITLE: "Mr. Mr~ Mrs Ms. Ms~ Dr. Dr~ Prof. Professor~ Herr~ Herrn~ Frau~ Mme Mlle M.~ Madame~ Monsieur~ "
    "Señor~ Señora~ Signor~ Signora~ Sig. Dott.",
    Cue.SALUTATION: "Dear Hello Hey Hi~ Liebe Lieber Hallo Bonjour Salut Cher Chère Hola Querido Querida Ciao "
    "Caro Cara",
    Cue.HEADER: "Patient Patientin Cardholder Applicant Employee Insured Signed-off-by Reported-by Reviewed-by "
    "Acked-by Tested-by Suggested-by Co-authored-by Co-developed-by Kunde Kundin Ansprechpartner Ansprechpartnerin "
    "Kontoinhaber Karteninhaber Mitarbeiter Mieter Titulaire Titular Intestatario Salarié Paciente Paziente "
    "Emergency~contact",
    Cue.FIELD: "Name Full~name From Author Authors Contact Customer Client Maintainer Owner Assignee Reporter Sender "
    "Recipient Attn Absender Empfänger Nom Nombre Nome Contacto Contatto Autor Auteur Translator",
    Cue.CLOSING: "regards Regards Sincerely sincerely Cheers Grüßen Grüße Gruß Hochachtungsvoll Cordialement "
    "cordialement Salutations salutations atentamente Atentamente saludo Saludos saluti Saluti truly faithfully",
}


def literals_for(kinds: Iterable[Kind], languages: tuple[Language, ...], own: Iterable[str]) -> list[Literal]:
    """Return the REPORT literals for some kinds and languages, and for the words of an own list."""
    found = [Literal(word.encode(), Act.REPORT, Cue.OWN) for word in own]
    if "name" in kinds:
        found += _name_literals(languages)
    if "address" in kinds:
        if "en" in languages:
            found += [Literal(word.encode(), Act.REPORT, Cue.STREET) for word in addresses.STREETS]
            found += [
                Literal(f"{state} ".encode(), Act.REPORT, Cue.STATE, digits=Where.BEFORE_DIGIT)
                for state in addresses.STATES
            ]
        if "zh" in languages:
            found += [Literal(word.encode(), Act.REPORT, Cue.PROVINCE) for word in addresses.PROVINCES]
    return found


def _name_literals(languages: tuple[Language, ...]) -> list[Literal]:
    sure, words = given_names(languages)
    found = []
    for cue, names in ((Cue.GIVEN, sure), (Cue.GIVEN_WORD, words)):
        long = (name.encode() for name in names if len(name.encode()) >= 3)
        found += [Literal(name, Act.REPORT, cue, digits=Where.BEFORE_NAME) for name in long]
    if set(languages) - {"zh"}:
        long = (name.encode() for name in FAMILY_NAMES if len(name.encode()) >= 3)
        found += [Literal(name, Act.REPORT, Cue.FAMILY, digits=Where.IN_CELL) for name in long]
        for cue, text in _LATIN.items():
            where = Where.BEFORE_COLON if cue == Cue.FIELD else Where.ANYWHERE
            written = (word.replace("~", " ").encode() for word in text.split())
            found += [Literal(word, Act.REPORT, cue, digits=where) for word in written]
    if "zh" in languages:
        for cue, text in (
            (Cue.ZH_TITLE, f"{chinese_names.POLITE_TITLES} {chinese_names.OFFICE_TITLES}"),
            (Cue.ZH_HEADER, f"{chinese_names.SURE_FIELDS} {chinese_names.LOOSE_FIELDS}"),
        ):
            found += [Literal(word.encode(), Act.REPORT, cue) for word in text.split()]
    return found
