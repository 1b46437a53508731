"""What differs from the originals, and why; and which entries cannot be compared.

A difference is the entry, the original, what is here instead, and the reason.
"""

RECURRING = """\
Three reasons apply to several defenses, whose rows do not repeat them.

* A cross entropy grows slowly, and a squared error of people has another scale for each counter. A
  term that was made to be added to a cross entropy is added to the logarithm of the loss.
* A repair may be weak or strong: its learning rate, its number of rounds or the number of channels
  that it prunes decide it. What suits a classifier may do nothing to a counter, or ruin it. The
  settings of the authors are therefore tried with others, and the strongest repair is kept whose
  error on clean validation images is within a budget (defenses/parts/strength.py).
* BackdoorBench chooses how much `anp` and `fine_pruning` prune by the accuracy on test images. No
  defense here is given a test image.
"""

MODELS = [
    ("model `bayesian`", "A crop keeps a head if at least 0.3 of its box lies inside, and expects "
     "that share of a person.", "A crop keeps a head if the head itself lies inside, and expects "
     "one person.", "All counters share the same crops, and a scene has no boxes."),
    ("model `bayesian`", "The distance to the background is the shorter side of the whole image.",
     "It is the shorter side of the crop.", "A loss is given the crop alone."),
    ("model `can`", "Crops are one of the four quarters of an image, and an image is counted by "
     "quarters. The target is made as in CSRNet.", "Crops lie anywhere, and images are counted "
     "whole. The target is exact.", "The context of a place should not end at the middle of the "
     "image."),
    ("model `clip_ebc`", "The transport cost is summed over the batch, as in `dm_count`.", "It is "
     "averaged. `ot_weight=0.8` gives the weight of the public code at its batch of 8.",
     "The reason is that of `dm_count`."),
    ("model `clip_ebc`", "The anchor of the last bin is a constant for each dataset. Training is "
     "Adam at 1e-4 with warm restarts.", "The anchor is computed from the training set. Training "
     "is Adam at 4e-4 with a cosine for 150 epochs.", "Datasets differ, and "
     "a poisoned one may differ from its clean one. The training is that of the paper under test; "
     "the docstring gives the original's settings."),
    ("model `clip_ebc_vit`", "The transport cost is summed over the batch. Training is Adam on 2 "
     "crops of each of 16 images; the rate falls from 1e-3 to 1e-4 within 50 epochs, and restarts "
     "from there over 2600 epochs.", "It is averaged. Training is Adam from 1e-3 with a cosine for "
     "150 epochs, on a crop of each of 16 images.", "The reason is that of `dm_count`. The "
     "schedule would not fit short trainings."),
    ("model `clip_ebc_vit`", "It sees an image in windows only.", "It counts in windows, but defenses "
     "that look at its layers read them on whole images.", "Layers have one output for an image. "
     "Whether a defense would do better on windows was not tested."),
    ("model `clip_ebc_vit`", "The last windows end with the image, and blocks that it does not "
     "fill are left out. An image that is smaller than a window cannot be counted.", "They end "
     "with the last block, which is padded, and so is a small image.",
     "A person at the border of an image is counted, too."),
    ("model `csrnet`", "The target is a map of full size, resized by cubic interpolation and "
     "multiplied by 64. Training is SGD at 1e-7 for 400 epochs.",
     "The target is the exact integral over the blocks of the map. Training is Adam at 1e-5 for "
     "100 epochs.", "The resized map does not sum to the number of heads. The training is that of "
     "the paper under test."),
    ("model `csrnet_ebc`", "The transport cost is summed over the batch. Training is Adam at 1e-4 "
     "with a warm-up of 50 epochs and restarts over 2600 epochs.", "It is averaged. Training is "
     "Adam at 1e-4 with a cosine for 150 epochs.", "The reason is that of `dm_count`. A warm-up of "
     "50 epochs would not fit short trainings."),
    ("model `csrnet_zip`", "1e-8 is added to a probability before its logarithm.", "Logarithms of "
     "probabilities are computed from the logits.", "The gradient of a confident mistake does not "
     "vanish."),
    ("model `csrnet_zip`", "Training has warm restarts over 1300 epochs. The colours of every view "
     "change a little.", "It has a cosine for 150 epochs. Those of a fifth of the views change.",
     "The reasons are those of `csrnet_ebc`, whose recipe this is but for the zoom."),
    ("model `dm_count`", "The transport cost is summed over the batch, while the other terms are "
     "averaged, so that its weight grows with the batch.", "All terms are averaged over the "
     "images. `ot_weight=1.0` gives the weight of the public code at its batch of 10.",
     "The weight then is that of the paper's equation, and does not depend on the batch."),
    ("model `dm_count`", "The last convolution starts with signed random weights.", "It starts "
     "with their absolute values.", "Otherwise the ReLU behind it may output 0 everywhere, and "
     "then it never learns."),
    ("model `dm_count_ebc`", "The transport cost is summed over the batch. Training is that of "
     "`csrnet_ebc` in the public code.", "It is averaged. Training is that of `csrnet_ebc` here.",
     "The reasons are those of `dm_count` and `csrnet_ebc`."),
    ("model `mcnn`", "The public code takes pixel values of 0 to 255 as they are. Training is "
     "SGD at 1e-6.", "Images are normalised as for the other counters. Training is Adam at 1e-5. "
     "`pixels=rgb` takes the pixel values of the public code, for its files.",
     "All counters here treat images alike."),
    ("model `mcnn`", "A Gaussian is sampled at the centres of pixels and cut off at four widths; "
     "its part outside the image is lost.", "It is integrated over each block, and the part inside "
     "the image is scaled to one person.", "The target then sums to the number of heads."),
    ("model `p2pnet`", "The location loss never enters the sum, because its weight is stored under "
     "another name.", "It has the weight of the paper. `point_weight=0` is what the public code "
     "does.", "The paper's equation has it."),
    ("model `p2pnet`", "The cross entropy is averaged over the batch, with the weights of the "
     "classes.", "It is averaged so over each image.", "Defenses need the loss of each image."),
    ("model `p2pnet`", "An image gives four crops to a batch of 8 images, for 3,500 epochs; scaled "
     "by 0.7 to 1.3.", "A batch has 32 images of one crop each, for 14,000 epochs; the square that "
     "is cut is scaled by 0.77 to 1.43.", "The numbers of crops and of steps are the same."),
    ("model `sfanet`", "The attention target is made at full size, where it is 0 or 1, and resized "
     "to stride 2.", "The density map at stride 2 is compared with the same threshold.",
     "Every value of the target is then 0 or 1."),
]

TRIGGERS = [
    ("trigger `adaptive_blend`", "An image has 4 x 4 pieces. Alpha is 0.15 in training and 0.2 on "
     "test images, and there are as many cover images as poisoned ones, all of them stamped in "
     "place.", "It has 8 x 8 pieces. Alpha is 0.15; `test_alpha=0.2` and `cover_rate` give the "
     "rest. Stamped images are copies, and their originals stay.", "An image of a crowd is "
     "larger, and a counter sees a part of it at once. All attacks here add copies, and the cover "
     "copies are a setting of each."),
    ("trigger `baiqa`", "The surrogate sees only the images that are poisoned, and a quality score "
     "is moved in either direction. Four strengths are trained.",
     "The surrogate is a clean counter with another seed that sees all training images, and counts "
     "are raised. By default one strength is trained.",
     "A count has a direction that the attacker wants. The original strengths are a setting."),
    ("trigger `blended`", "The picture is Hello Kitty; BackdoorBench mixes it at 0.2.", "The "
     "picture is our own drawing, mixed at 0.1, the value of the paper.", "The original picture is "
     "under copyright. Any other can be set."),
    ("trigger `bpp`", "The authors dither by Floyd and Steinberg's error diffusion, which their "
     "code and BackdoorBench switch off by default. Training is contrastive.", "The image is "
     "dithered with Bayer's thresholds. Training is as usual.", "Error diffusion works pixel by "
     "pixel, which is slow on large images. The attacker here controls nothing but the data."),
    ("trigger `ftrojan`", "The image is rounded to 8 bits in YCbCr and back, by coefficients of "
     "three digits. The magnitude is 20 in the authors' code for CIFAR-10, and 30 in "
     "BackdoorBench.", "Only the final image is "
     "rounded. The magnitude is 30.", "Rounding twice adds noise that is no part of the trigger."),
    ("trigger `lira`", "The generator and the victim are learned in turns, and then the victim is "
     "tuned on images of the fixed generator, which is an autoencoder or a U-Net. It moves images "
     "to a class, with a bound of 0.01 of normalised pixels.", "The generator is learned in "
     "turns with a poisoned counter that starts as a clean one with another seed and is thrown "
     "away; the victim is trained on images of the fixed generator. It has four convolutions. Its "
     "change doubles the heads, or halves them where it is subtracted, with a bound of 8 grey "
     "levels.", "The attacker here controls nothing but the data. Images have any size, and a "
     "count has a direction."),
    ("trigger `low_frequency`", "The pattern is optimised against a classifier.", "The pattern is "
     "smooth random noise.", "A fixed pattern needs no access to a counter. `baiqa` is the trigger "
     "that is optimised."),
    ("trigger `noise`", "BackdoorBench's blended attack reads a picture from a file.", "The "
     "picture is drawn from a seed, and its grain can be set.", "Every size of image then has "
     "noise of the same grain."),
    ("trigger `patch`", "The patch of the code of ANP has 3 x 3 pixels, and its top left square is "
     "black.", "The patch has a size relative to the image, and that square is white.", "Three "
     "pixels are lost in a large image, and the squares of a checkerboard alternate."),
    ("trigger `rain`", "DMBA blends pictures of rain; we found no public copy of them.", "The "
     "picture is our own drawing.", "Any picture of this kind serves the attack."),
    ("trigger `refool`", "Each image has another picture, strength, blur and offset, in pixels of "
     "an image of 560. A reflection that is out of focus has another weight than a ghost, fades "
     "towards the edges, and is darkened where it would be overexposed.", "All images have one "
     "reflection, with lengths in shares of the image. It has one weight everywhere.", "A trigger "
     "should be a fixed pattern of its settings that reaches every person."),
    ("trigger `sig`", "BackdoorBench cuts off the decimals of grey levels.", "They are rounded.",
     "Cutting off darkens every image by half a grey level."),
    ("trigger `snow`", "DMBA blends pictures of snow; we found no public copy of them.", "The "
     "picture is our own drawing.", "Any picture of this kind serves the attack."),
    ("trigger `ssba`", "Encoder and decoder are those of StegaStamp. They have dense layers for one"
     " size of image; the change of a pixel has no bound, and the loss has a perceptual distance, "
     "a critic and prints.", "Both are convolutional: a message is a sum of orthogonal carriers in"
     " a tile of 16 x 16 pixels. The change is bounded by 16 grey levels, and the loss is the "
     "cross entropy of the bits with a squared penalty.", "Images have any size. The networks are "
     "learned in half a minute on a CPU, and no victim prints images."),
    ("trigger `wanet`", "The field has 4 x 4 random points and moves pixels of an image of 32 by "
     "a quarter of a pixel on average. Training adds randomly warped images.", "The field has "
     "8 x 8 points and moves pixels by 1% of the shorter side on average. Only the data is "
     "poisoned.", "In a large image a quarter of a pixel is no visible change. The attacker here "
     "controls nothing but the data."),
]

DEFENSES = [
    ("defense `abl`", "Images with the lowest loss are isolated. The defaults of the public code "
     "are 10, 60 and 5 epochs; the isolated images alone are unlearned.", "The loss is divided by "
     "the count + 1 and ranked among images of similar counts. There are 20 epochs, those of the "
     "victim and 20; the other images stay in the loss, and its ascent is bounded.", "Nearly empty "
     "scenes have low losses for no other reason. The ascent of a squared error has no end."),
    ("defense `abl`", "The isolated images are augmented anew in each epoch of unlearning.",
     "Each is unlearned in one view, which is drawn once.", "The few batches stay on the device. "
     "Whether new views would unlearn more was not tested."),
    ("defense `activation_clustering`", "BackdoorBench's function for clusters compares numbers "
     "with the operator `&`, so that its condition for PCA never holds: it clusters the first ten "
     "activations.", "The first ten principal components are clustered.", "This is what the paper "
     "and the help text of BackdoorBench describe. The comparison calls its function for PCA "
     "directly."),
    ("defense `activation_clustering`", "Whole clusters that are small, or small and well "
     "separated, are discarded in each class.", "Images are ranked by their silhouette within bins "
     "of the count, and a fixed share is left out.", "Counts have no classes, and filters should "
     "leave out equally many images."),
    ("defense `anp`", "The public code adds the signed step to the random start without a limit, "
     "so that perturbations reach twice the bound.", "They are clamped to the bound.",
     "The paper's equation bounds them."),
    ("defense `anp`", "The masks take 2000 steps. Only channels with a BatchNorm have one.",
     "They take 100 steps. A convolution without BatchNorm has masks too.", "The steps of the "
     "original would take hours for CSRNet on a CPU. CSRNet has no BatchNorm."),
    ("defense `anp`", "While the masks are learned, BatchNorm uses the statistics of each batch of "
     "128 images.", "It uses its stored ones, and batches are as large as in the victim's recipe.",
     "A batch may have a single image, as for CSRNet."),
    ("defense `clp`", "Only convolutions with BatchNorm are pruned. The epsilon of BatchNorm is "
     "left out.", "Convolutions without BatchNorm are pruned, too. The epsilon is added to the "
     "variance.", "CSRNet has no BatchNorm. The epsilon is part of what the layer computes."),
    ("defense `fine_pruning`", "The inputs of the last layer are pruned; in BackdoorBench it is "
     "linear.", "The spatial convolutions of the three largest depths are pruned.",
     "Several convolutions make a density map."),
    ("defense `fine_tune_few`", "BackdoorBench tunes on 5% of the images for 100 epochs, with SGD "
     "at 0.01.", "There are 40 images and 20 epochs, with the victim's optimizer and several "
     "rates.", "A rate belongs to a loss and an optimizer."),
    ("defense `fst`", "The head is one linear layer, which is drawn again. The term is the product "
     "of its new and its old weights, times 0.2.", "The head is the deepest convolutions, whose "
     "weights are shuffled. The term is the cosine of the weights, times 2.", "The last "
     "convolution of a counter may have 64 weights, too few to read other features. Weights have "
     "another scale in each counter."),
    ("defense `ft_sam`", "BackdoorBench tunes for 100 epochs with a radius of 2 or 8, depending on "
     "the dataset.", "There are 20 epochs, and radii of 0.1, 0.5 and 2 are tried.", "A squared "
     "error rises far more than a cross entropy within the same radius."),
    ("defense `drmguard`", "The change is made by a network.",
     "It is one bounded perturbation, found anew in each round.",
     "The reasons are those of `inversion`."),
    ("defense `i_bau`", "The hypergradient accounts for how the perturbation moves with the "
     "weights. The perturbation has the size of an image and is limited by a penalty.",
     "The perturbation is held fixed. It is upsampled from a low resolution and bounded.",
     "Images differ in size, and a count has no largest value. The reason for the first "
     "difference is argued in the docstring, but was not tested."),
    ("defense `inversion`", "DRMGuard learns a network that makes the change of an image, and "
     "searches for one output for all images.", "One bounded perturbation is learned, and the "
     "factor by which counts change should be equal.", "A backdoored count depends on the image. "
     "No public code was found to compare with."),
    ("defense `median_smoothing`", "There are 2000 copies with noise of 0.25, and a denoiser "
     "stands before the detector.", "There are 51 copies and no denoiser, and noise of 0.25 and "
     "less is tried.", "2000 counts of each image take too long. A counter that was not trained "
     "with noise fails in much of it."),
    ("defense `median_smoothing`", "Ranks are computed from 1 and used as indices from 0, so that "
     "both bounds are one count higher than computed.", "The counts with these ranks are taken.",
     "The upper bound is then as close as it may be, and the lower one has the confidence that it "
     "should have."),
    ("defense `nad`", "The term is the mean over the places of three feature maps of a "
     "WideResNet, with weights of 500, 1000 and 1000.", "It is the sum over the places of the "
     "inputs of convolutions at three depths, with weights of 0.5, 4 and 16.", "A sum does not "
     "depend on the size of a map. These weights are the original ones, divided by the number of "
     "places of its maps and rounded."),
    ("defense `npd`", "A perturbed image is driven to the class that is most likely besides the "
     "true one, until most images of a batch are there. Three losses of it have weights of 0.4.",
     "It is driven to more or to fewer people, by all steps. One loss has the weight 1.2. "
     "Learning rates of 0.0001 to 0.01, that of the original, are tried.", "A count has no "
     "classes, and an error of it is all three in one."),
    ("defense `npd`", "The BatchNorm of the layer is a new one, and five epochs of warm-up give it "
     "its statistics. The layer stands before `layer4.1.conv1` of PreActResNet18.", "It starts "
     "with those of the features and undoes them, so that the layer is the identity. The layer "
     "stands at the third largest depth, in all branches.", "The victim need not learn to count "
     "again. Behind `layer4.1.conv1`, too, are a convolution and a linear layer."),
    ("defense `rnp`", "Unlearning ends after an epoch with an accuracy of 20% or less, and its "
     "rate falls after 10 epochs. Only channels with a BatchNorm have masks.", "It ends after a "
     "step with a fifth of the victim's share of counts within 10%. A convolution without "
     "BatchNorm has masks, too.", "An error of a count has no limit: after an epoch no mask "
     "recovered the counter. CSRNet has no BatchNorm."),
    ("defense `beatrix`", "There are statistics for each class. The products are summed over the "
     "places.", "All images are one class. The products are averaged.", "Counts have no classes, "
     "and images have different sizes."),
    ("defense `bnp`", "BackdoorBench takes the logarithm of the ratio of the variances, and u = 3.",
     "It is that of the ratio of the standard deviations, as in the divergence of two normal "
     "distributions. Clean validation images choose u.", "The paper's measure is this divergence. "
     "The rule of strength is the same for all repairs."),
    ("defense `sau`", "The divergence of the predictions is that of Jensen and Shannon, and the "
     "probability of the victim's wrong class is lowered by a logarithm.",
     "It is the squared difference of the shifts of the counts, and the share of the victim's "
     "shift is lowered. Clean validation images choose among up to 100 rounds.",
     "A count has no classes, and the logarithm is infinite where both counters are equal."),
    ("defense `shrink_pad`", "A new place is drawn each time that an image is seen.", "The place "
     "is drawn from the bytes of the image.", "The same image then always has the same count."),
    ("defense `spectral`", "The authors' code and BackdoorBench take the main direction of centred "
     "features, but project features on it that are not centred.", "Centred features are "
     "projected, as in the paper's algorithm. Scores are ranked within bins of the count.",
     "Counts have no classes, and bins have scores of different scales."),
    ("defense `spectre`", "The number of poisoned images is given. The features of one class have "
     "up to 100 components.", "A share of each bin of the count is left out. There is at most one "
     "component for ten images.", "Counts have no classes, and a bin has some tens of images."),
    ("defense `spectre`", "Before each round of the robust estimate, images of an extreme length "
     "are ignored.", "This step is left out, and at least half of a bin is used.", "A bin of some "
     "tens of images cannot hold such a length."),
    ("defense `strip`", "Images are added with full weight, and the score is the entropy of the "
     "predictions; low values are suspicious.", "Images are averaged, and the score is the spread "
     "of the ratio by which the count changes; low and high values are suspicious.",
     "A triggered count has no fixed value, and a count has no entropy."),
    ("defense `teco`", "Fifteen corruptions are applied, and the public code corrupts images that "
     "are corrupted already. The answer is a class.", "Twelve corruptions are applied, each to the "
     "image itself. The answer is a band of 10% around the count.", "Three corruptions need long "
     "programs or photographs. A count is never quite the same."),
]

DIFFERENCES = MODELS + TRIGGERS + DEFENSES

OWN = "designs or controls of this project, without an original"
NOT_COMPARED = [
    (["model `squeeze`", "model `tiny`"], OWN),
    (["trigger `colour`"], "gamma correction, from no paper"),
    (["trigger `if_crowded`", "trigger `in_box`", "trigger `universal`"], OWN),
    (["trigger `on_heads`"],
     "the idea of papers on object detection, whose boxes a head annotation does not have"),
    (["trigger `poster`"], "a drawing of this project, after the idea of physical backdoors"),
    (["target `add`", "target `divide`", "target `minus`", "target `multiply`"],
     "the rules of the paper under test; their docstrings say where its code differs from it"),
    (["target `clean_fewer`", "target `clean_more`", "target `fixed`", "target `region`",
      "target `shift`", "target `zero`"],
     "ideas from classification, segmentation and detection, whose code has no head annotations"),
    (["defense `blur`", "defense `jpeg`"], "each is one call, of torchvision or Pillow"),
    (["defense `drmguard`", "defense `sau`"],
     "methods for classes or gaze, whose losses have no counterpart of the same value here"),
    (["defense `distillation`"], "the idea of a paper on classifiers, carried over to maps"),
    (["defense `fine_tune`", "defense `retrain`"],
     "trainings of this project with other images; `fine_tune` is that of the paper under test"),
    (["defense `continue_poisoned`", "defense `corruption_distance`",
      "defense `label_consistency`", "defense `none`", "defense `overlay_shift`",
      "defense `patchwork`", "defense `trimmed_loss`"], OWN),
]
