use super::*;
use crate::{BoundingBox, ClassId, DetectedObject, Detection};

fn object(class_id: u32, label: &str, confidence: f32, corners: [f32; 4]) -> DetectedObject {
    let [x1, y1, x2, y2] = corners;
    let bbox = BoundingBox { x1, y1, x2, y2 };
    let detection = Detection { bbox, class_id: ClassId(class_id), confidence };
    DetectedObject { detection, label: label.to_owned() }
}

/// Two of the objects in bus.jpg, and a third at its edge.
fn bus() -> [DetectedObject; 3] {
    [
        object(5, "bus", 0.873_448, [22.871_27, 231.277_3, 805.002_56, 756.840_3]),
        object(0, "person", 0.865_6, [48.5, 398.5, 245.25, 902.75]),
        object(11, "stop sign", 0.255, [0.0, 254.0, 32.0, 325.0]),
    ]
}

fn rendered(format: AnnotationFormat, objects: &[DetectedObject]) -> String {
    format.render(&Annotations { picture_name: "bus.jpg", width: 810, height: 1080, objects })
}

#[test]
fn a_format_is_parsed_by_its_name() {
    for format in AnnotationFormat::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let error = "xml".parse::<AnnotationFormat>().unwrap_err().to_string();
    for format in AnnotationFormat::ALL {
        assert!(error.contains(format.name()), "{error}");
    }
}

#[test]
fn coco() {
    let expected = concat!(
        r#"{"info":{"description":"Objects detected by spotter"},"#,
        r#""images":[{"id":1,"file_name":"bus.jpg","width":810,"height":1080}],"annotations":["#,
        r#"{"id":1,"image_id":1,"category_id":6,"bbox":[22.87127,231.2773,782.13129,525.56297],"#,
        r#""area":411059.2437,"iscrowd":0,"score":0.87345},"#,
        r#"{"id":2,"image_id":1,"category_id":1,"bbox":[48.5,398.5,196.75,504.25],"#,
        r#""area":99211.1875,"iscrowd":0,"score":0.8656},"#,
        r#"{"id":3,"image_id":1,"category_id":12,"bbox":[0.0,254.0,32.0,71.0],"#,
        r#""area":2272.0,"iscrowd":0,"score":0.255}],"#,
        r#""categories":[{"id":1,"name":"person"},{"id":6,"name":"bus"},{"id":12,"name":"stop sign"}]}"#,
        "\n"
    );
    assert_eq!(rendered(AnnotationFormat::Coco, &bus()), expected);
}

#[test]
fn csv() {
    let expected = "image,width,height,class_id,label,confidence,x1,y1,x2,y2\r\n\
                    bus.jpg,810,1080,5,bus,0.87345,22.87127,231.2773,805.00256,756.84027\r\n\
                    bus.jpg,810,1080,0,person,0.8656,48.5,398.5,245.25,902.75\r\n\
                    bus.jpg,810,1080,11,stop sign,0.255,0,254,32,325\r\n";
    assert_eq!(rendered(AnnotationFormat::Csv, &bus()), expected);
}

#[test]
fn yolo() {
    let expected = "5 0.511033 0.457462 0.965594 0.486632\n\
                    0 0.181327 0.602431 0.242901 0.466898\n\
                    11 0.019753 0.268056 0.039506 0.065741\n";
    assert_eq!(rendered(AnnotationFormat::Yolo, &bus()), expected);
    let expected = "5 0.511033 0.457462 0.965594 0.486632 0.87345\n\
                    0 0.181327 0.602431 0.242901 0.466898 0.8656\n\
                    11 0.019753 0.268056 0.039506 0.065741 0.255\n";
    assert_eq!(rendered(AnnotationFormat::YoloConfidence, &bus()), expected);
}

#[test]
fn voc() {
    let expected = "<annotation>\n\
        \t<filename>bus.jpg</filename>\n\
        \t<size>\n\t\t<width>810</width>\n\t\t<height>1080</height>\n\t\t<depth>3</depth>\n\t</size>\n\
        \t<segmented>0</segmented>\n\
        \t<object>\n\t\t<name>stop sign</name>\n\t\t<pose>Unspecified</pose>\n\
        \t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n\
        \t\t<confidence>0.255</confidence>\n\
        \t\t<bndbox>\n\t\t\t<xmin>1</xmin>\n\t\t\t<ymin>255</ymin>\n\
        \t\t\t<xmax>32</xmax>\n\t\t\t<ymax>325</ymax>\n\t\t</bndbox>\n\t</object>\n\
        </annotation>\n";
    assert_eq!(rendered(AnnotationFormat::Voc, &bus()[2..]), expected);
}

#[test]
fn a_picture_without_objects_has_a_file_in_each_format() {
    let expected = [
        "{\"info\":{\"description\":\"Objects detected by spotter\"},\"images\":[{\"id\":1,\
         \"file_name\":\"bus.jpg\",\"width\":810,\"height\":1080}],\"annotations\":[],\
         \"categories\":[]}\n",
        "image,width,height,class_id,label,confidence,x1,y1,x2,y2\r\n",
        "",
        "",
        "<annotation>\n\t<filename>bus.jpg</filename>\n\t<size>\n\t\t<width>810</width>\n\
         \t\t<height>1080</height>\n\t\t<depth>3</depth>\n\t</size>\n\
         \t<segmented>0</segmented>\n</annotation>\n",
    ];
    for (format, expected) in AnnotationFormat::ALL.into_iter().zip(expected) {
        assert_eq!(rendered(format, &[]), expected, "{format:?}");
    }
}

#[test]
fn a_box_of_the_whole_picture_has_its_whole_extent() {
    let whole = [object(0, "x", 1.0, [0.0, 0.0, 810.0, 1080.0])];
    assert!(rendered(AnnotationFormat::Coco, &whole).contains("[0.0,0.0,810.0,1080.0]"));
    assert_eq!(rendered(AnnotationFormat::Yolo, &whole), "0 0.500000 0.500000 1.000000 1.000000\n");
    let voc = rendered(AnnotationFormat::Voc, &whole);
    for part in ["<xmin>1<", "<ymin>1<", "<xmax>810<", "<ymax>1080<"] {
        assert!(voc.contains(part), "{part}: {voc}");
    }
}

#[test]
fn numbers_that_are_no_box_stay_within_the_picture() {
    let far = [
        object(u32::MAX, "x", 1.0, [-5.0, -1e30, 1e30, 2000.0]),
        object(0, "x", 1.0, [900.0, 1.0, 3.0, 0.0]),
    ];
    let voc = rendered(AnnotationFormat::Voc, &far);
    for (part, count) in [("<xmin>1<", 1), ("<xmax>810<", 2), ("<xmin>810<", 1), ("<ymin>2<", 1)] {
        assert_eq!(voc.matches(part).count(), count, "{part}: {voc}");
    }
    assert_eq!(
        rendered(AnnotationFormat::Yolo, &far),
        "4294967295 0.500000 0.500000 1.000000 1.000000\n\
         0 0.501852 0.000463 0.000000 0.000000\n"
    );
    let coco = rendered(AnnotationFormat::Coco, &far);
    assert!(coco.contains("\"category_id\":4294967296"), "{coco}");
    assert!(coco.contains("\"bbox\":[900.0,1.0,0.0,0.0],\"area\":0.0"), "{coco}");
}

#[test]
fn a_name_is_text_and_nothing_else() {
    let names = [
        ("=1+1", "'=1+1", "=1+1"),
        (
            "-2+3+cmd|' /C calc'!A0.jpg",
            "'-2+3+cmd|' /C calc'!A0.jpg",
            "-2+3+cmd|&apos; /C calc&apos;!A0.jpg",
        ),
        ("+1.jpg", "'+1.jpg", "+1.jpg"),
        ("@SUM(A1)", "'@SUM(A1)", "@SUM(A1)"),
        ("\t=1", "'\t=1", "\t=1"),
        ("＝1", "'＝1", "＝1"),
        ("\r=1", "\"'\r=1\"", "&#13;=1"),
        ("a,b\r\n\"c\"", "\"a,b\r\n\"\"c\"\"\"", "a,b&#13;\n&quot;c&quot;"),
        ("</filename><x>&", "</filename><x>&", "&lt;/filename&gt;&lt;x&gt;&amp;"),
        ("\0\u{1b}\u{ffff}é猫", "\0\u{1b}\u{ffff}é猫", "\u{fffd}\u{fffd}\u{fffd}é猫"),
        ("a=b.jpg", "a=b.jpg", "a=b.jpg"),
        ("", "", ""),
    ];
    for (name, cell, text) in names {
        let objects = [object(0, name, 1.0, [0.0, 0.0, 1.0, 1.0])];
        let annotations =
            Annotations { picture_name: name, width: 1, height: 1, objects: &objects };
        let csv = AnnotationFormat::Csv.render(&annotations);
        assert!(csv.ends_with(&format!("\r\n{cell},1,1,0,{cell},1,0,0,1,1\r\n")), "{csv:?}");
        let voc = AnnotationFormat::Voc.render(&annotations);
        assert!(voc.contains(&format!("<filename>{text}</filename>")), "{voc:?}");
        assert!(voc.contains(&format!("<name>{text}</name>")), "{voc:?}");
        let coco = AnnotationFormat::Coco.render(&annotations);
        let coco: serde_json::Value = serde_json::from_str(&coco).unwrap();
        assert_eq!(coco["images"][0]["file_name"], name);
        assert_eq!(coco["categories"][0]["name"], name);
    }
}

#[test]
fn the_json_of_a_number_has_at_most_five_decimals() {
    let cases = [(22.871_27, "22.87127"), (0.0, "0.0"), (0.873_448, "0.87345"), (1.0, "1.0")];
    for (value, expected) in cases {
        assert_eq!(serde_json::json!(five_decimals(value)).to_string(), expected);
    }
}
