"""Normalises spelling for the prompt filter: undoes common tricks, and unifies letters with the same meaning."""

import re
import unicodedata

LATIN = str.maketrans("013457@$!", "oieastasi")  # digits and signs in place of letters
CYRILLIC = str.maketrans("03461@", "озчбиа")
LOOKALIKES = str.maketrans("аеорсухкіјѕԁһոαεορτυνικ", "aeopcyxkijsdhnaeoptuvik")  # Cyrillic, Greek, Armenian to Latin
LOOKALIKES_CYRILLIC = str.maketrans("aeopcyxkmhtbiu", "аеорсухкмнтвии")  # Latin to Cyrillic
KATAKANA = str.maketrans("力口工二夕卜八", "カロエニタトハ")
TRADITIONAL = str.maketrans(
    "殺愛體屍斬斷劊絞鎗槍髮髒亂倫強姦賣處兒嬰學運動馬雲習澤國總統導師戰爭鬥獸慘燒燬頭顱頸腸腦漿臟開決納種視猶滾優厭輕樓藥癥電鋸義長島雞鳥貓龍俠鋼鐵"
    "寶夢寵豬貝齊勞萊賓遜劉張陳趙楊黃吳鄧範馮葉諾偉華傑鵬寧麗歐麥喬羅賴維爾達臉換頻圖網錄戀豔劇場員團課題戲內碼樂蘭亞虛鍾個這裡親監綁縛榮顯熱線預聯",
    "杀爱体尸斩断刽绞枪枪发脏乱伦强奸卖处儿婴学运动马云习泽国总统导师战争斗兽惨烧毁头颅颈肠脑浆脏开决纳种视犹滚优厌轻楼药症电锯义长岛鸡鸟猫龙侠钢铁"
    "宝梦宠猪贝齐劳莱宾逊刘张陈赵杨黄吴邓范冯叶诺伟华杰鹏宁丽欧麦乔罗赖维尔达脸换频图网录恋艳剧场员团课题戏内码乐兰亚虚钟个这里亲监绑缚荣显热线预联",
)
"""Traditional Chinese to simplified: the letters of the words, in Japanese texts, too."""
SPELLINGS = str.maketrans({"ँ": "ं", "œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "ى": "ي", "ة": "ه", "ـ": None})
MARKS = re.compile("[\u0300-\u036f\u064b-\u065f\u0670\u093c]")
TRICK = re.compile(r"(?<=[a-z])[013457@$!]+(?=[a-z])|(?<!\w)[013457@$]+(?=[a-z]{2})|(?<=[a-z]{2})[013457@$]+(?!\w)")
TRICK_CYRILLIC = re.compile(r"(?<=[а-я])[03461@]+(?=[а-я])")
TRICK_KATAKANA = re.compile(r"(?<=[ァ-ー])[力口工二夕卜八]|[力口工二夕卜八](?=[ァ-ー]{2})")
MASKED = re.compile(r"(?<=[^\W\d_])[*#_•×](?=[^\W\d_])")
VOWELS = "aeiou"
REPEATED = re.compile(r"([^\W\d])\1{2,}")
SPELT = re.compile(r"(?<= )(?:[^\W\d_] ){3,}")
CUT = re.compile("(?<= )([\u0904-\u0939][\u093a-\u094f]*) (?=([^ ]+) )")


def normal(text: str) -> str:
    """A text in lower case, without accents and punctuation, between spaces; spelling tricks are undone: invisible
    letters, letters of other scripts, digits for letters, masked, repeated and separated letters."""
    text = unicodedata.normalize("NFKD", text).casefold()
    text = unicodedata.normalize("NFC", MARKS.sub("", text)).translate(SPELLINGS).translate(TRADITIONAL)
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = " ".join(one_script(word) for word in text.split())
    text = TRICK.sub(lambda trick: trick[0].translate(LATIN), text)
    text = TRICK_CYRILLIC.sub(lambda trick: trick[0].translate(CYRILLIC), text)
    text = TRICK_KATAKANA.sub(lambda trick: trick[0].translate(KATAKANA), text)
    if MASKED.search(text):
        text = " ".join(
            [text, *(MASKED.sub(vowel, word) for word in text.split() if MASKED.search(word) for vowel in VOWELS)]
        )
    text = "".join(" " if unicodedata.category(letter)[0] in "PSZC" else letter for letter in text)
    text = REPEATED.sub(r"\1", f" {' '.join(text.split())} ")
    return SPELT.sub(lambda run: f"{run[0]}{run[0].replace(' ', '')} ", text)


def one_script(word: str) -> str:
    """A word in the letters of its first script where it mixes them with others that look the same."""
    if word.isascii() or not any("a" <= letter <= "z" for letter in word):
        return word
    cyrillic = sum("а" <= letter <= "я" for letter in word)
    latin = sum("a" <= letter <= "z" for letter in word)
    return word.translate(LOOKALIKES_CYRILLIC if cyrillic > latin else LOOKALIKES)


def joined(spaced: str) -> str:
    """Single letters of Devanagari together with the next word: such a word is often one that a space cuts in two."""
    return "".join(f"| {one[1]}{one[2]} " for one in CUT.finditer(spaced))


def cleaned(entry: str) -> str:
    """A word of the filter, normalised as texts are by `normal`."""
    text = unicodedata.normalize("NFKD", entry).casefold()
    return unicodedata.normalize("NFC", MARKS.sub("", text)).translate(SPELLINGS).translate(TRADITIONAL).strip()
