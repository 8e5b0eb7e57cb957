"""Which files the rules of the CellMap challenge read: its own tree, or one that is generated. No rules."""

from connectomake.cellmap.manifest import read_manifest


def challenge_of(wildcards):
    """Give what the data config that the wildcard `data` names says about its challenge."""
    return INDEX["data", wildcards.data].settings["data"].cellmap


def is_challenge(variant):
    """Tell whether a variant's data are crops of a challenge."""
    return variant.settings["data"].cellmap is not None


def challenge_file(name, key):
    """Give a function that names a file of the challenge: that of the config, or of the generated one; None without."""

    def of(wildcards):
        cfg = challenge_of(wildcards)
        if cfg.generate:
            return f"{RESULTS}/phantom/challenge/{wildcards.data}/{name}"
        path = getattr(cfg, key)
        return path and str(Path(locate(path, folder_of(wildcards))))

    return of


tree_of = challenge_file("tree", "tree")
manifest_of = challenge_file("test_crop_manifest.csv", "manifest")
class_table_of = challenge_file("classes.csv", "class_table")


def challenge_settings(wildcards):
    """Give the settings of a challenge as plain values."""
    return challenge_of(wildcards).model_dump(mode="json")


def challenge_phantoms(wildcards):
    """Give the settings of the phantoms that a generated challenge is made of, by preset."""
    phantoms = INDEX["data", wildcards.data].phantoms
    return {name: phantom.settings.model_dump(mode="json") for name, phantom in phantoms.items()}


def generated(wildcards):
    """Name what is written last of a generated challenge; nothing where the tree is the user's."""
    made = rules.make_challenge.output.done if challenge_of(wildcards).generate else None
    return {"challenge": made} if made else {}


def crop_files(wildcards):
    """Name the files that decide what a crop is: a changed manifest or table is read again."""
    if challenge_of(wildcards).generate:
        return generated(wildcards)
    is_submitted = source_of(wildcards).role == "predict"
    named = {"manifest_file": manifest_of(wildcards) if is_submitted else None, "table": class_table_of(wildcards)}
    return {name: path for name, path in named.items() if path}


def crops_with_role(variant, *roles):
    """Give the volumes of a variant's challenge that have one of some roles."""
    return [name for name, source in variant.settings["data"].volumes.items() if source.role in roles]


def annotated_crops(wildcards):
    """Name the descriptions of all crops with labels."""
    names = crops_with_role(INDEX["data", wildcards.data], "train", "validate")
    return [f"{RESULTS}/ingest/{wildcards.data}/{name}/volume.json" for name in names]


def crops_split(wildcards):
    """Name the table of crops to learn from, where the data are a challenge's."""
    is_ours = is_challenge(INDEX["data", wildcards.data])
    return {"datasplit": rules.split_crops.output.datasplit} if is_ours else {}


def crops_of_part(wildcards):
    """Give the volumes of a submission, or of what is kept back to score it; the latter are known once crops are split."""
    if wildcards.part == "submission":
        return crops_with_role(INDEX["data", wildcards.data], "predict")
    split = checkpoints.split_crops.get(data=wildcards.data, split=wildcards.split)
    return list(dict.fromkeys(f"{row.dataset}.{row.crop}" for row in read_manifest(Path(split.output.manifest))))


def decoded_crops(wildcards):
    """Name what tells of the arrays of each crop of a part."""
    own = folder("submit").format(
        **{key: wildcards[key] for key in wildcards.keys() if key != "part"}, volume="{volume}"
    )
    return [f"{own.format(volume=name)}/crop.json" for name in crops_of_part(wildcards)]


def crop_volumes(wildcards):
    """Name the descriptions of the crops of a part."""
    return [f"{RESULTS}/ingest/{wildcards.data}/{name}/volume.json" for name in crops_of_part(wildcards)]


def part_manifest(wildcards):
    """Name the manifest of a part."""
    if wildcards.part == "submission":
        return manifest_of(wildcards)
    return checkpoints.split_crops.get(data=wildcards.data, split=wildcards.split).output.manifest


def part_truth(wildcards):
    """Give where the labels of a part lie: in the tree, or, of crops to submit, with the generated challenge."""
    if wildcards.part == "validation":
        return tree_of(wildcards)
    return f"{RESULTS}/phantom/challenge/{wildcards.data}/truth.zarr"


def scored_parts(variant):
    """Give the parts that can be scored here.

    Crops are kept back where there are two or more; labels of what is submitted are known only where they are generated.
    """
    cfg, learnt = variant.settings["data"].cellmap, crops_with_role(variant, "train", "validate")
    by_dataset = variant.settings["split"].unit == "dataset"
    units = {name.rpartition(".")[0] if by_dataset else name for name in learnt}
    generated_truth = bool(cfg.generate and crops_with_role(variant, "predict"))
    return ["validation"] * (len(units) > 1) + ["submission"] * generated_truth


def submitted_files(variant):
    """Name everything that a variant's submission consists of: the zip, its check, its scores and their pages."""
    own = f"{RESULTS}/submit/{variant.chain('submit')}"
    files = ["submission.zip", "submission.check.json"] if crops_with_role(variant, "predict") else []
    kinds = ["score.json", "scores.png", "examples.png", "scores.html"]
    kinds += ["official.json"] * variant.settings["submit"].second_opinion
    files += [f"{part}.{kind}" for part in scored_parts(variant) for kind in kinds]
    return [f"{own}/{name}" for name in files]


def submit_goal(wildcards):
    """Give what `snakemake submit` makes."""
    found = [path for variant in VARIANTS if is_challenge(variant) for path in submitted_files(variant)]
    if not found:
        raise ValueError("snakemake submit: no experiment here has a challenge's data; try experiments=cellmap_mini")
    return found
