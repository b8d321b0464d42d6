"""The split that a name stands for: words for training, validation and test, in several languages."""

import re
import unicodedata

# Beginnings of words, in lower case and without accents. They are hints: which of several folders is which.
_SPELLED = {
    "validation": (
        *("valid", "devset", "devel", "kfoldval", "sviluppo", "walid", "dogrulama", "tuning"),
        *("валидац", "проверк", "验证", "驗證", "検証", "검증", "التحقق"),
    ),
    "test": (
        *("test", "eval", "heldout", "holdout", "unseen", "prueb", "ensa", "verific", "uberpr"),
        *("essai", "epreuve", "prova", "pruf", "pruef", "toets", "zkous", "probn", "sinav", "teszt"),
        *("kiem", "avali", "valuta"),
        *("тест", "контрольн", "экзамен", "测试", "測試", "评估", "評価", "テスト", "評測", "테스트"),
        *("평가", "اختبار", "परीक्ष", "δοκιμ", "בדיק"),
    ),
    "train": (
        *("train", "learn", "entren", "trein", "entrain", "apprent", "aprend", "addestr", "allenam", "lern"),
        *("trenin", "trenow", "uczen", "uczac", "egit", "oplei", "ovning", "traning", "opplar", "koulut"),
        *("treniro", "antren", "tanit", "latih", "huanluyen", "ausbild"),
        *("обуч", "трен", "учебн", "训练", "訓練", "学習", "學習", "훈련", "학습", "تدريب", "प्रशिक्ष"),
        *("εκπαιδ", "אימון"),
    ),
}


def _plain(text: str) -> str:
    """In lower case and without accents."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in letters if not unicodedata.combining(each)).replace("ı", "i")


_BEGINNINGS = {meaning: tuple(map(_plain, spelled)) for meaning, spelled in _SPELLED.items()}
# Words that are too short to be the beginning of another.
_WORDS = {"val": "validation", "vali": "validation", "dev": "validation", "tst": "test", "tr": "train"}
_WORDS |= {"trn": "train", "ts": "test", "ho": "test", "vl": "validation", "cv": "validation"}


def role(name: str) -> str | None:
    """ "train", "validation" or "test" if a word of the name says so, else None.

    >>> [role(name) for name in ("seg_train", "ValSet", "Prüfung", "test2017", "contest", "valley")]
    ['train', 'validation', 'test', 'test', None, None]
    """
    for word in words(name):
        if word in _WORDS:
            return _WORDS[word]
        if word.startswith("val") and word[3:] in ("set", "data", "images", "imgs", "split"):
            return "validation"
        for meaning, beginnings in _BEGINNINGS.items():
            if word.startswith(beginnings):
                return meaning
    return None


def words(name: str) -> list[str]:
    """The words of a name in lower case, without accents; a capital after a small letter begins another.

    >>> words("TestSet_été-2017")
    ['test', 'set', 'ete']
    """
    parted = re.sub(r"(?<=[a-zà-öø-ÿ])(?=[A-ZÀ-ÖØ-Þ])", " ", name)
    joined = re.sub(r"(?i)\b(hold|held)[-_ ](out)", r"\1\2", parted)
    return re.findall(r"[^\W\d_]+", _plain(joined))
