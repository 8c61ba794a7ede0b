//! Real models on real pictures.

use std::{fs, num::NonZero};

use detector::{
    BareModel, BatchItem, DetectError, Detector, ExecutionProvider, InputBox, ModelBundle,
    ModelError, OnnxRuntimeError, SessionOptions, SharedModel, annotate,
    decode::{DecodeError, Picture},
    families::HeadKind,
    model::install::{HeadChoice, InstallOptions},
    tensor::InputTensor,
};
use domain::{
    ConfidenceThreshold, DetectedObject, DetectionSettings,
    picture::{PictureFormat, PictureLimits},
};
use image::imageops::FilterType;

use crate::support::{Loaded, Models, beside, detect, picture, weights};

type Row = (u32, &'static str, f32, [f32; 4]);

/// The detections of Ultralytics' own implementation with YOLOv8n and default settings: class, name,
/// confidence, x1, y1, x2, y2.
// Copied as printed, with a digit more than a float holds.
#[allow(clippy::excessive_precision)]
const BUS: [Row; 6] = [
    (5, "bus", 0.87345, [22.87127, 231.27731, 805.00256, 756.84045]),
    (0, "person", 0.86569, [48.55045, 398.55222, 245.3456, 902.7027]),
    (0, "person", 0.85284, [669.4729, 392.18597, 809.72015, 877.03546]),
    (0, "person", 0.82522, [221.5173, 405.79865, 344.97064, 857.53662]),
    (0, "person", 0.26111, [0.0, 550.52502, 63.00697, 873.44293]),
    (11, "stop sign", 0.25507, [0.05817, 254.45938, 32.55741, 324.87418]),
];
#[allow(clippy::excessive_precision)]
const ZIDANE: [Row; 3] = [
    (0, "person", 0.83597, [114.87012, 197.41199, 1114.46887, 711.8894]),
    (0, "person", 0.81896, [748.46143, 41.8551, 1143.07568, 713.02393]),
    (27, "tie", 0.29097, [439.47467, 437.07352, 524.34589, 709.15967]),
];

fn sides(object: &DetectedObject) -> [f32; 4] {
    let bbox = object.detection.bbox;
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2]
}

fn iou(a: &DetectedObject, b: &DetectedObject) -> f32 {
    let [a, b] = [a, b].map(|object| {
        let [x1, y1, x2, y2] = sides(object);
        InputBox { x1, y1, x2, y2 }
    });
    a.iou(&b)
}

fn confidences(objects: &[DetectedObject], label: &str) -> Vec<f32> {
    let of_label = objects.iter().filter(|object| object.label == label);
    of_label.map(|object| object.detection.confidence).collect()
}

fn assert_near(found: &[f32], expected: &[f32], tolerance: f32) {
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= tolerance;
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(near),
        "found {found:?}, expected {expected:?} within {tolerance}"
    );
}

#[test]
fn yolov8n_finds_what_the_reference_finds() {
    let models = Models::new();
    let bundle = models.install(&weights("yolov8n")).bundle;
    assert_eq!(bundle.manifest().head, HeadKind::YOLOV8_CUT);
    let mut detector = models.load(&bundle);
    for (name, rows, size) in
        [("bus.jpg", &BUS[..], (810, 1080)), ("zidane.jpg", &ZIDANE[..], (1280, 720))]
    {
        let found = detect(&mut detector, name);
        assert_eq!((found.width, found.height), size, "{name}");
        assert_eq!(found.objects.len(), rows.len(), "{name}: {:#?}", found.objects);
        let (mut confidence_off, mut side_off) = (0.0_f32, 0.0_f32);
        for (object, &(class, label, confidence, bbox)) in found.objects.iter().zip(rows) {
            let detection = object.detection;
            assert_eq!((detection.class_id.0, object.label.as_str()), (class, label), "{name}");
            confidence_off = confidence_off.max((detection.confidence - confidence).abs());
            for (a, b) in sides(object).into_iter().zip(bbox) {
                side_off = side_off.max((a - b).abs());
            }
        }
        eprintln!("{name}: boxes within {side_off:.5} px, confidences within {confidence_off:.6}");
        assert!(side_off <= 0.25, "{name}: a side is {side_off} px off");
        assert!(confidence_off <= 0.003, "{name}: a confidence is {confidence_off} off");
    }
}

/// A file of `factor` times the sides of a sample picture.
fn enlarged(name: &str, factor: u32) -> Vec<u8> {
    let small = image::load_from_memory(&picture(name)).unwrap().into_rgb8();
    let (width, height) = (factor * small.width(), factor * small.height());
    let large = image::imageops::resize(&small, width, height, FilterType::CatmullRom);
    let large = Picture::from_rgb(width, height, large.into_raw()).unwrap();
    annotate::encode(&large, PictureFormat::Jpeg).unwrap()
}

#[test]
fn only_the_wanted_classes_are_reported() {
    let models = Models::new();
    let mut detector = models.load(&models.install(&weights("yolov8n")).bundle);
    let all = detector.detect(&picture("bus.jpg"), &DetectionSettings::default()).objects;
    for (classes, wanted) in [("person", &["person"][..]), ("5, Stop Sign", &["bus", "stop sign"])]
    {
        let settings =
            DetectionSettings { classes: classes.parse().unwrap(), ..DetectionSettings::default() };
        let found = detector.detect(&picture("bus.jpg"), &settings).objects;
        let mut expected = all.clone();
        expected.retain(|object| wanted.contains(&object.label.as_str()));
        assert!(!found.is_empty() && found.len() < all.len(), "{classes}");
        assert_eq!(found, expected, "{classes}");
    }
    let settings = DetectionSettings {
        classes: "cat,unicorn".parse().unwrap(),
        ..DetectionSettings::default()
    };
    let prepared = detector.preprocessor.preprocess(&picture("bus.jpg")).unwrap();
    let error = detector.detector.detect(&prepared, &settings).unwrap_err().to_string();
    assert!(
        error.starts_with("the model has no class 'unicorn'; it has person, bicycle"),
        "{error}"
    );
}

/// A file of this size is decoded at a reduced size, but its boxes are in the pixels of the full size.
#[test]
fn an_enlarged_picture_has_the_same_objects_in_the_same_places() {
    const FACTOR: u32 = 4;
    let models = Models::new();
    let mut detector = models.load(&models.install(&weights("yolov8n")).bundle);
    let settings =
        DetectionSettings { confidence: "0.5".parse().unwrap(), ..DetectionSettings::default() };
    for name in ["bus.jpg", "zidane.jpg"] {
        let small = detector.detect(&picture(name), &settings);
        let large = detector.detect(&enlarged(name, FACTOR), &settings);
        assert_eq!((large.width, large.height), (FACTOR * small.width, FACTOR * small.height));
        assert!(small.objects.len() >= 2);
        assert_eq!(large.objects.len(), small.objects.len(), "{name}: {:#?}", large.objects);
        for found in &large.objects {
            let scaled = sides(found).map(|side| side / FACTOR as f32);
            let near = |object: &&DetectedObject| {
                object.label == found.label
                    && sides(object).iter().zip(scaled).all(|(a, b)| (a - b).abs() < 6.0)
            };
            let Some(same) = small.objects.iter().find(near) else {
                panic!("{name}: {found:?} is not in {:#?}", small.objects)
            };
            let off = (same.detection.confidence - found.detection.confidence).abs();
            assert!(off < 0.05, "{name}: {found:?}, and in its own size {same:?}");
        }
    }
}

#[test]
fn yolo11n_finds_the_bus_and_its_passengers() {
    let models = Models::new();
    let bundle = models.install(&weights("yolo11n")).bundle;
    assert_eq!(bundle.manifest().head, HeadKind::YOLOV8_CUT);
    let found = detect(&mut models.load(&bundle), "bus.jpg").objects;
    assert_near(&confidences(&found, "bus"), &[0.94], 0.01);
    assert_near(&confidences(&found, "person"), &[0.89, 0.88, 0.86, 0.62], 0.01);
}

#[test]
fn yolox_nano_finds_the_bus_and_three_people() {
    let Some(source) = beside("models/yolox_nano.onnx") else { return };
    let models = Models::new();
    let bundle = models.install(&source).bundle;
    assert_eq!(bundle.manifest().head, HeadKind::YOLOX);
    let found = detect(&mut models.load(&bundle), "bus.jpg").objects;
    eprintln!("{found:#?}");
    let bus = found.iter().find(|object| object.label == "bus").unwrap();
    let expected = BUS[0].3;
    assert_near(&sides(bus), &expected, 40.0);
    assert!(confidences(&found, "person").len() >= 3, "{found:#?}");
}

#[test]
fn the_plain_head_gives_what_the_cut_one_gives() {
    let models = Models::new();
    let cut = models.install(&weights("yolov8n")).bundle;
    let options = InstallOptions { head: HeadChoice::KeepPlain, ..models.options("plain") };
    let plain =
        ModelBundle::install(&weights("yolov8n"), &options, &models.runtime).unwrap().bundle;
    assert_eq!(plain.manifest().head, HeadKind::YOLOV8);
    let (mut cut, mut plain) = (models.load(&cut), models.load(&plain));
    // The plain model takes one size only, so both get that one.
    let settings =
        DetectionSettings { confidence: "0.01".parse().unwrap(), ..DetectionSettings::default() };
    for name in ["bus.jpg", "zidane.jpg", "astronaut.png", "coffee.png"] {
        let prepared = plain.preprocessor.preprocess(&picture(name)).unwrap();
        let cut = cut.detector.detect(&prepared, &settings).unwrap().objects;
        let plain = plain.detector.detect(&prepared, &settings).unwrap().objects;
        assert!(cut.len() > 5, "{name}");
        assert_eq!(cut.len(), plain.len(), "{name}");
        for (a, b) in cut.iter().zip(&plain) {
            assert_eq!(a.label, b.label, "{name}");
            let off = (a.detection.confidence - b.detection.confidence).abs();
            assert!(off < 1e-4, "{name}: {a:?} {b:?}");
            assert!(iou(a, b) > 0.999, "{name}: {a:?} {b:?}");
        }
    }
}

#[test]
fn threads_and_reused_memory_change_nothing() {
    let models = Models::new();
    let bundle = models.install(&weights("yolov8n")).bundle;
    let options = SessionOptions { threads: NonZero::new(2).unwrap(), ..SessionOptions::default() };
    let mut threaded = Detector::load(&models.runtime, &bundle, &options).unwrap();
    let preprocessor = bundle.preprocessor(PictureLimits::default());
    let mut used = None;
    for name in ["zidane.jpg", "astronaut.png", "bus.jpg", "zidane.jpg"] {
        let fresh = detect(&mut models.load(&bundle), name).objects;
        let prepared = match used.take() {
            Some(used) => preprocessor.preprocess_reusing(&picture(name), used).unwrap(),
            None => preprocessor.preprocess(&picture(name)).unwrap(),
        };
        let settings = DetectionSettings::default();
        let reused = threaded.detect(&prepared, &settings).unwrap().objects;
        used = Some(prepared);
        assert_eq!(fresh.len(), reused.len(), "{name}");
        for (a, b) in fresh.iter().zip(&reused) {
            assert_eq!(a.label, b.label, "{name}");
            assert_near(&sides(a), &sides(b), 0.01);
        }
    }
}

#[test]
fn a_cancelled_run_ends_and_the_next_one_works() {
    let models = Models::new();
    let bundle = models.install(&weights("yolov8n")).bundle;
    let Loaded { mut detector, preprocessor } = models.load(&bundle);
    let settings = DetectionSettings::default();
    let prepared = preprocessor.preprocess(&picture("bus.jpg")).unwrap();
    let mut item = [BatchItem { prepared: &prepared, settings: &settings, owner: "bus" }];

    let canceller = models.runtime.canceller().unwrap();
    let elsewhere = canceller.clone();
    std::thread::spawn(move || elsewhere.cancel()).join().unwrap();
    assert!(canceller.is_cancelled());
    let error = detector.detect_batch(&mut item, &canceller).unwrap_err();
    assert!(matches!(error, DetectError::Cancelled), "{error}");

    let next = models.runtime.canceller().unwrap();
    let found = detector.detect_batch(&mut item, &next).unwrap();
    assert_eq!(found[0].1.objects.len(), BUS.len());
}

#[test]
fn bytes_that_do_not_decode_are_refused_before_the_model_runs() {
    let models = Models::new();
    let bundle = models.install(&weights("yolov8n")).bundle;
    let mut model = models.load(&bundle);
    for bytes in [&b""[..], b"no picture", &picture("bus.jpg")[..20_000]] {
        let error = model.preprocessor.preprocess(bytes).unwrap_err();
        assert!(matches!(error, DecodeError::Refused(_)), "{error}");
    }
    assert_eq!(detect(&mut model, "bus.jpg").objects.len(), BUS.len());
}

#[test]
fn a_picture_preprocessed_for_another_model_is_rejected() {
    let models = Models::new();
    let source = weights("yolov8n");
    let dynamic = models.load(&models.install(&source).bundle);
    let options = InstallOptions { head: HeadChoice::KeepPlain, ..models.options("plain") };
    let fixed = ModelBundle::install(&source, &options, &models.runtime).unwrap().bundle;
    let prepared = dynamic.preprocessor.preprocess(&picture("bus.jpg")).unwrap();
    let mut fixed = models.load(&fixed).detector;
    let error = fixed.detect(&prepared, &DetectionSettings::default()).unwrap_err();
    assert!(matches!(error, DetectError::WrongInputSize { .. }), "{error}");
}

#[test]
fn detectors_with_shared_weights_find_the_same_objects() {
    let models = Models::new();
    let bundle = models.install(&weights("yolov8n")).bundle;
    let shared = SharedModel::load(&models.runtime, &bundle, ExecutionProvider::Cpu).unwrap();
    assert!(shared.why_not_shared().is_none(), "{:?}", shared.why_not_shared());
    let one_thread = SessionOptions::default();
    let two_threads = SessionOptions { threads: NonZero::new(2).unwrap(), ..one_thread };
    let mut sharing = [one_thread, one_thread, two_threads]
        .map(|options| Loaded::new(shared.detector(&options).unwrap(), &bundle));
    // The sessions keep the weights alive.
    drop(shared);
    let mut alone = models.load(&bundle);
    for name in ["bus.jpg", "astronaut.png", "zidane.jpg"] {
        let expected = detect(&mut alone, name).objects;
        for detector in &mut sharing {
            assert_eq!(detect(detector, name).objects, expected, "{name}");
        }
    }
}

#[test]
fn a_failed_trial_run_means_that_the_provider_does_not_work_unless_it_is_the_cpu() {
    let models = Models::new();
    let bundle = models.install(&weights("yolov8n")).bundle;
    let model = fs::read(bundle.model_path()).unwrap();
    let mut bare = BareModel::load(&models.runtime, &model, &SessionOptions::default()).unwrap();
    let unfit = InputTensor { data: vec![0.0; 3 * 40 * 40], height: 40, width: 40 };
    for provider in ExecutionProvider::ALL {
        let shared = SharedModel::load(&models.runtime, &bundle, provider).unwrap();
        let failed = shared.trial_failed(bare.run(&unfit).unwrap_err());
        let ModelError::OnnxRuntime { source, .. } = failed else { panic!("{failed}") };
        let blamed = match source {
            OnnxRuntimeError::ProviderFailed { provider, .. } => provider,
            _ => ExecutionProvider::Cpu,
        };
        assert_eq!(blamed, provider, "{source}");
    }
}

#[test]
fn a_batch_gives_each_owner_what_its_picture_gives_alone() {
    let models = Models::new();
    let bundle = models.install(&weights("yolov8n")).bundle;
    let Loaded { mut detector, preprocessor } = models.load(&bundle);
    assert!(detector.takes_batches().unwrap());
    let bus = preprocessor.preprocess(&picture("bus.jpg")).unwrap();
    let mut mirrored = bus.clone();
    let width = mirrored.tensor.width;
    mirrored.tensor.data.chunks_exact_mut(width).for_each(<[f32]>::reverse);
    let zidane = preprocessor.preprocess(&picture("zidane.jpg")).unwrap();
    let usual = DetectionSettings::default();
    let strict =
        DetectionSettings { confidence: ConfidenceThreshold::new(0.5).unwrap(), ..usual.clone() };

    let canceller = models.runtime.canceller().unwrap();
    let pictures = [(&bus, &usual), (&mirrored, &usual), (&bus, &strict)];
    let mut items = pictures.map(|picture| {
        let (prepared, settings) = picture;
        BatchItem { prepared, settings, owner: picture }
    });
    // The last one is padded with what the buffer holds of the runs before.
    for (pictures, least) in [(3, 1), (3, 5), (1, 4)] {
        let items = &mut items[..pictures];
        let together = detector.detect_padded(items, least, &canceller).unwrap();
        let together: Vec<_> = together.into_iter().map(|(owner, found)| (*owner, found)).collect();
        assert_eq!(together.len(), pictures);
        for ((prepared, settings), found) in &together {
            let alone = detector.detect(prepared, settings).unwrap();
            assert_eq!(found.objects.len(), alone.objects.len(), "{pictures} in {least}");
            for (a, b) in found.objects.iter().zip(&alone.objects) {
                assert_eq!(a.label, b.label);
                assert_near(&sides(a), &sides(b), 0.01);
            }
        }
        let fewer = together
            .get(2)
            .is_none_or(|(_, strictly)| strictly.objects.len() < together[0].1.objects.len());
        assert!(fewer, "each picture has its own threshold");
    }

    let mut mixed =
        [&bus, &zidane].map(|prepared| BatchItem { prepared, settings: &usual, owner: () });
    let error = detector.detect_batch(&mut mixed, &canceller).unwrap_err();
    assert!(matches!(error, DetectError::MixedSizes { .. }), "{error}");
}

#[test]
fn a_model_with_a_fixed_batch_takes_no_batches() {
    let models = Models::new();
    let options = InstallOptions { head: HeadChoice::KeepPlain, ..models.options("plain") };
    let plain = ModelBundle::install(&weights("yolov8n"), &options, &models.runtime).unwrap();
    assert!(!models.load(&plain.bundle).detector.takes_batches().unwrap());
}
