"""Affine augmentation of a batch of pictures, by one resampling."""


def affine(images, seed, *, rotation, scale, shift, shear=0.0):
    """Rotate, shear, scale and shift each image of a batch a little, by one affine resampling.

    images: float32 tensor [batch, side, side, 1]; seed: int32 tensor [2], which fixes the draw, so
    that two processes train on the same pictures. rotation: radians; scale: share by which each axis
    shrinks or grows; shift: pixels; shear: columns that a row moves for each row of distance from the
    centre; all of them either way. Returns the same shape.
    """
    import tensorflow as tf

    side = images.shape[1]
    count = tf.shape(images)[0]
    draw = tf.random.stateless_uniform([count, 6 if shear else 5], seed, -1.0, 1.0)
    angle, scale_x, scale_y = draw[:, 0] * rotation, 1 + draw[:, 1] * scale, 1 + draw[:, 2] * scale
    cos, sin, slant = tf.cos(angle), tf.sin(angle), draw[:, 5] * shear if shear else 0.0
    a0, a1 = cos * scale_x, (cos * slant - sin) * scale_y
    b0, b1 = sin * scale_x, (sin * slant + cos) * scale_y
    # The centre of the picture stays in place, then the shift is added.
    centre = (side - 1) / 2
    a2 = centre - (a0 + a1) * centre + draw[:, 3] * shift
    b2 = centre - (b0 + b1) * centre + draw[:, 4] * shift
    zero = tf.zeros_like(a0)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1),
        output_shape=(side, side),
        fill_value=0.0,
        interpolation="BILINEAR",
    )
