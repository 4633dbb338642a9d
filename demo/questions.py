"""Questions about a scene in English and Chinese, each with the one answer that is true of it."""

from __future__ import annotations

from random import Random
from typing import Literal, NamedTuple

from demo.scenes import COLOURS, SHAPES, Scene

Kind = Literal["colour", "shape", "count", "code", "absent"]
Language = Literal["en", "zh"]

KINDS: tuple[Kind, ...] = ("colour", "shape", "count", "code", "absent")
LANGUAGES: tuple[Language, ...] = ("en", "zh")


class Question(NamedTuple):
    """A question and its exact true answer."""

    text: str
    truth: str


Phrases = dict[tuple[Language, Kind], tuple[str, ...]]

# {} stands for one of NAMES, so that the model learns words and not whole sentences.
PHRASES: Phrases = {
    ("en", "colour"): (
        "What colour is the {}?",
        "What color is the {}?",
        "Which colour does the {} have?",
        "Which color is the {} showing?",
        "What is the colour of the {}?",
        "What is the color of the {} on this device?",
        "Tell me the colour of the {}.",
        "Can you tell me what color the {} is?",
        "The {} is on. What colour is it?",
        "In what colour does the {} shine?",
    ),
    ("zh", "colour"): (
        "{}是什么颜色？",
        "{}是什么颜色的？",
        "{}的颜色是什么？",
        "{}亮的是什么颜色？",
        "面板上的{}是什么颜色？",
        "告诉我{}的颜色。",
        "{}现在是哪种颜色？",
        "你能看出{}是什么颜色吗？",
        "图中{}的颜色是？",
        "{}显示什么颜色？",
    ),
    ("en", "shape"): (
        "What shape is the {}?",
        "Which shape is the {}?",
        "What is the shape of the {}?",
        "What does the {} look like?",
        "Which {} is on the panel?",
        "What {} do you see?",
        "Tell me the shape of the {}.",
        "Can you tell me what shape the {} has?",
        "What is the {} on this device?",
        "Describe the shape of the {}.",
    ),
    ("zh", "shape"): (
        "{}是什么形状？",
        "{}是什么形状的？",
        "{}的形状是什么？",
        "面板上有什么{}？",
        "这是什么{}？",
        "告诉我{}的形状。",
        "图中的{}是哪种形状？",
        "你能看出{}是什么形状吗？",
        "{}看起来是什么样的？",
        "描述一下{}的形状。",
    ),
    ("en", "count"): (
        "How many {} are there?",
        "How many {} do you see?",
        "How many {} does the panel have?",
        "How many {} are on the panel?",
        "What is the number of {}?",
        "Count the {}.",
        "Tell me how many {} there are.",
        "Can you count the {} on this device?",
        "How many {} are in the row?",
        "What number of {} does this device have?",
    ),
    ("zh", "count"): (
        "有几个{}？",
        "有多少个{}？",
        "面板上有几个{}？",
        "图中有多少{}？",
        "{}有几个？",
        "{}的数量是多少？",
        "数一数{}。",
        "一共有多少个{}？",
        "告诉我有几个{}。",
        "你能数出有几个{}吗？",
    ),
    ("en", "code"): (
        "What is the {}?",
        "Which {} does the display show?",
        "What {} is on the display?",
        "Read the {}.",
        "Tell me the {}.",
        "What is the {} on the screen?",
        "Can you read the {}?",
        "Which {} do you see?",
        "What does the display show?",
        "What does the screen say?",
        "The device shows an {}. Which one?",
    ),
    ("zh", "code"): (
        "{}是多少？",
        "{}是什么？",
        "屏幕上的{}是什么？",
        "显示屏显示的{}是多少？",
        "读出{}。",
        "告诉我{}。",
        "请读一下屏幕上的{}。",
        "你能看到什么{}？",
        "显示屏上显示什么？",
        "屏幕上写着什么？",
    ),
    ("en", "absent"): (
        "What colour is the {}?",
        "What color is the {}?",
        "What shape is the {}?",
        "Where is the {}?",
        "What does the {} look like?",
        "Describe the {}.",
        "Tell me the colour of the {}.",
        "How big is the {}?",
        "Can you tell me what the {} is doing?",
        "What is the {} made of?",
    ),
    ("zh", "absent"): (
        "{}是什么颜色？",
        "{}的颜色是什么？",
        "{}是什么形状？",
        "{}在哪里？",
        "{}看起来是什么样的？",
        "描述一下{}。",
        "告诉我{}的颜色。",
        "{}有多大？",
        "{}在做什么？",
        "{}是什么做的？",
    ),
}

NAMES: dict[tuple[Language, Kind], tuple[str, ...]] = {
    ("en", "colour"): ("light", "lamp", "LED", "indicator", "indicator light", "status light"),
    ("zh", "colour"): ("灯", "指示灯", "信号灯", "状态灯", "LED 灯"),
    ("en", "shape"): ("icon", "symbol", "sign", "pictogram"),
    ("zh", "shape"): ("图标", "符号", "标志", "图案"),
    ("en", "count"): ("buttons", "keys", "push buttons", "knobs"),
    ("zh", "count"): ("按钮", "按键", "按鈕", "键"),
    ("en", "code"): ("error code", "code", "fault code", "error"),
    ("zh", "code"): ("错误代码", "代码", "故障码", "错误码", "故障代码"),
    ("en", "absent"): (
        *("cable", "clock", "fan", "dog", "cat", "person", "plug", "door", "car", "tree"),
        *("battery", "camera", "keyboard", "bottle", "chair", "window", "phone", "hand"),
        *("wheel", "table", "antenna", "bird", "book", "printer"),
    ),
    ("zh", "absent"): (
        *("电缆", "时钟", "风扇", "狗", "猫", "人", "插头", "门", "汽车", "树"),
        *("电池", "相机", "键盘", "瓶子", "椅子", "窗户", "手机", "手"),
        *("轮子", "桌子", "天线", "鸟", "书", "打印机"),
    ),
}

# Never trained on: only for measuring how far the model has learnt words beyond its sentences.
HELD_OUT_PHRASES: Phrases = {
    ("en", "colour"): ("Which color does the {} show?", "Please name the colour of this {}."),
    ("zh", "colour"): ("请说出{}的颜色。", "这个{}是哪种颜色？"),
    ("en", "shape"): ("Which shape does the {} have?", "Please name the shape of this {}."),
    ("zh", "shape"): ("请说出{}的形状。", "这个{}是哪种形状？"),
    ("en", "count"): ("How many {} can you count?", "Please count the {} in the picture."),
    ("zh", "count"): ("请数一下{}。", "这里有多少个{}？"),
    ("en", "code"): ("Which {} is shown?", "Please read me the {} on the display."),
    ("zh", "code"): ("请说出{}。", "显示屏上的{}是什么？"),
    ("en", "absent"): ("What is the colour of the {}?", "Please describe this {}."),
    ("zh", "absent"): ("请描述{}。", "这个{}是什么颜色？"),
}

# What a display shows, a light may show, too: for small print, when the tokenizer has its words.
MORE_PHRASES: Phrases = PHRASES | {
    ("en", "colour"): (
        *PHRASES["en", "colour"],
        "What does the {} show?",
        "The {} shows which colour?",
        "What color do you see on the {}?",
        "What color is shown by the {}?",
    ),
}

UNSEEN: dict[Language, str] = {"en": "I cannot see that.", "zh": "我看不到。"}
CHINESE = dict(
    zip(
        (*COLOURS, *SHAPES),
        (
            "红色",
            "绿色",
            "蓝色",
            "黄色",
            "紫色",
            "白色",
            "圆形",
            "方形",
            "三角形",
            "星形",
            "心形",
            "十字形",
        ),
        strict=True,
    )
)


def truth(scene: Scene, kind: Kind, language: Language) -> str:
    """State the one true answer to a question of this kind, as the model must give it."""
    english = language == "en"
    if kind == "colour" and scene.light:
        return f"The light is {scene.light}." if english else f"灯是{CHINESE[scene.light]}的。"
    if kind == "shape" and scene.icon:
        return f"The icon is a {scene.icon}." if english else f"图标是{CHINESE[scene.icon]}。"
    if kind == "count" and scene.buttons:
        if not english:
            return f"按钮有 {scene.buttons} 个。"
        return "There is 1 button." if scene.buttons == 1 else f"There are {scene.buttons} buttons."
    if kind == "code" and scene.code:
        return f"The code is {scene.code}." if english else f"代码是 {scene.code}。"
    return UNSEEN[language]


def ask(
    scene: Scene,
    kind: Kind,
    language: Language,
    rng: Random,
    *,
    phrases: Phrases = PHRASES,
    loose: bool = True,
) -> Question:
    """Phrase a question of one kind; "absent" asks for something that the scene does not have.

    `phrases` are those to choose from; `loose` writes as hurried people do.
    """
    if kind == "absent":
        missing = [
            other for other in KINDS[:4] if truth(scene, other, language) == UNSEEN[language]
        ]
        if missing and rng.random() < 0.6:
            kind = rng.choice(missing)
    text = rng.choice(phrases[language, kind]).format(rng.choice(NAMES[language, kind]))
    return Question(_loosen(text, rng) if loose else text, truth(scene, kind, language))


def _loosen(text: str, rng: Random) -> str:
    """Write the question as hurried, polite or wordy people do."""
    language: Language = "en" if text.isascii() else "zh"
    if rng.random() < 0.2:
        text = rng.choice(OPENINGS[language]) + text
    if language == "en" and rng.random() < 0.2:
        text = text[:-1] + rng.choice(CLOSINGS) + text[-1]
    if rng.random() < 0.15:
        text = text.lower()
    if rng.random() < 0.15:
        text = text.rstrip("?.？。")
    elif language == "zh" and rng.random() < 0.15:
        text = text.replace("？", "?")
    return text


OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": ("Please: ", "Please tell me: ", "Hello! ", "Excuse me. ", "In this picture: ", "So, "),
    "zh": ("请问", "你好，", "麻烦看一下，", "请告诉我，", "这里", "图片中"),
}
CLOSINGS = (
    *(" in the picture", " shown here", " in this image", " on this", " please", " for me"),
    *(" right now", " on the display", " that is shown", " you can see"),
)
