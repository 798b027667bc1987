"""What a demo that went well would have seen."""

from dataclasses import replace

from local.demo.claims import judge
from local.demo.facts import (
    Attempt,
    DuplicateGroup,
    DuplicateRun,
    Facts,
    FilteredSearch,
    IndexRun,
    JobStory,
    KillRun,
    Machine,
    Result,
    Search,
    Tag,
    TaggedPicture,
    TagRun,
    TagStatistic,
    WeightedSearch,
)

MACHINE = Machine(cores=2, system="Linux x86_64", python="3.11.7", load=0.4)
INDEX = IndexRun(
    collection="catalogue",
    jobs=8,
    pictures=512,
    by_url=256,
    indexed=512,
    failed=[],
    in_collection=512,
    seconds=2.0,
)
TEXT = Search(
    "text",
    "cat",
    [Result("dog", "dog", 0.6, expected=False), Result("cat-face", "cat face", 0.5, expected=True)],
    seconds=0.02,
    run_seconds=0.01,
)
PICTURE = Search("picture", "cat-face", [Result("cat-face", "cat face", 1.0, expected=True)], 0.03, None)
WEIGHTED = WeightedSearch(
    "fruit",
    "red",
    -0.6,
    plain=[Result("red-apple", "red apple", 0.5, expected=False)],
    weighted=[Result("pear", "pear", 0.4, expected=False)],
    red_before=0.7,
    red_after=0.1,
    seconds=0.02,
)
FILTERED = FilteredSearch(
    text="red",
    filter={"category": "food-drink"},
    results=[Result("red-apple", "red apple", 0.5, expected=False)],
    outside=[],
    same_order=True,
    seconds=0.02,
)
TAGS = TagRun(
    directory="demo/library",
    labels=["cat", "fruit"],
    files=501,
    tagged=500,
    failed=["demo/library/broken.jpg: it is no picture"],
    seconds=2.0,
    again_unchanged=500,
    again_seconds=0.3,
    total=500,
    statistics=[TagStatistic("fruit", 480, 0.42), TagStatistic("cat", 410, 0.37)],
    months={"2024-01": 500},
    counts={"cat": 300, "fruit": 200},
    samples=[TaggedPicture("cat-face", [Tag("cat", 0.9), Tag("fruit", 0.1)])],
    judged=40,
    right=30,
)
DUPLICATES = DuplicateRun(
    directory="demo/copies",
    pictures=4,
    planted={"exact": 1, "perceptual": 1},
    found={"exact": 1, "perceptual": 1},
    mixed=[],
    groups=[
        DuplicateGroup("exact", "cat-face.webp", ["cat-face.webp", "copy-of-cat-face.webp"]),
        DuplicateGroup("perceptual", "red-apple.webp", ["red-apple-small.jpg", "red-apple.webp"]),
    ],
    seconds=0.5,
)
UNHARMED = JobStory("job-1", 16, "succeeded", 1, 16, 0, 0, False, [Attempt(1, 0.1, 0.4, "succeeded")])
RUN_AGAIN = JobStory(
    "job-2", 16, "succeeded", 2, 10, 6, 0, False, [Attempt(1, 0.4, 0.6, "killed"), Attempt(2, 5.0, 5.2, "succeeded")]
)
KILL = KillRun(
    collection="catalogue-again",
    pictures=32,
    role="worker-cpu",
    pid=100,
    with_children=[101, 102],
    killed_at=0.6,
    ended_before=1,
    queued=0,
    held=["job-2"],
    back_at=3.0,
    new_pid=200,
    taken_over_at=5.0,
    seconds=5.3,
    in_collection=32,
    jobs=[UNHARMED, RUN_AGAIN],
)


def good_facts() -> Facts:
    """Judged, and passed."""
    facts = Facts(
        machine=MACHINE,
        index=INDEX,
        searches=[TEXT, PICTURE],
        weighted=WEIGHTED,
        filtered=FILTERED,
        tags=TAGS,
        duplicates=DUPLICATES,
        kill=KILL,
    )
    facts.stages = {"start": 4.0, "index": 2.0, "search": 0.1, "tag": 2.3, "kill": 5.4, "stop": 2.0}
    facts.total_seconds = 13.5
    facts.pids = {10: "supervisor", 11: "api", 100: "worker-cpu", 200: "worker-cpu"}
    facts.claims = judge(facts)
    return facts


def with_job(**changes: object) -> KillRun:
    """The run with the kill, with the job that was run again changed."""
    return replace(KILL, jobs=[UNHARMED, replace(RUN_AGAIN, **changes)])  # type: ignore[arg-type]
