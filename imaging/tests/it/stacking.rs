//! Series to stacks: order, splits, holes, and what is left out.

use imaging::{
    DerivedImages, Header, LeftOut, Plane, Reason, SopInstanceUid, Uid, has_holes, stacks, stacks_with,
};

fn slice(number: i32, z: f64) -> Header {
    let uid = |text: &str| Uid::parse(text).unwrap();
    let mut header = Header::new(
        uid("1.2.840.10008.5.1.4.1.1.4").into(),
        uid(&format!("2.25.1.{}", number + 1)).into(),
        uid("2.25.2").into(),
        uid("2.25.3").into(),
        uid("1.2.840.10008.1.2.1"),
    );
    header.modality = "MR".into();
    header.image_type = vec!["ORIGINAL".into(), "PRIMARY".into()];
    header.instance_number = Some(number);
    (header.rows, header.columns, header.number_of_frames) = (Some(64), Some(64), 1);
    header.position = Some([0.0, 0.0, z]);
    header.orientation = Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    header.pixel_spacing = Some([1.0, 1.0]);
    header
}

fn series(count: i32) -> Vec<Header> {
    (0..count).map(|number| slice(number, 5.0 * f64::from(number))).collect()
}

fn reasons(headers: &[Header]) -> Vec<(usize, Reason)> {
    stacks(headers).left_out.into_iter().map(|left_out| (left_out.index, left_out.reason)).collect()
}

#[test]
fn slices_follow_their_positions_and_not_their_numbers() {
    let mut headers = series(4);
    headers.reverse();
    for (number, header) in (0..).zip(&mut headers) {
        header.instance_number = Some(number * 7 % 5);
    }
    assert_eq!(stacks(&headers).stacks[0].members, [3, 2, 1, 0]);
}

#[test]
fn a_missing_slice_is_a_hole_unless_the_numbers_go_on() {
    let mut headers = series(10);
    headers.remove(4);
    let found = stacks(&headers);
    assert_eq!(found.stacks[0].holes.len(), 1);
    assert_eq!((found.stacks[0].holes[0].after, found.stacks[0].holes[0].missing), (3, 1));
    assert!(has_holes(&headers));
    for (number, header) in (0..).zip(&mut headers) {
        header.instance_number = Some(number);
    }
    assert!(!has_holes(&headers), "the scanner left the gap itself");
}

#[test]
fn three_missing_slices_in_a_row_are_counted() {
    let mut headers = series(12);
    headers.drain(5..8);
    assert_eq!(stacks(&headers).stacks[0].holes[0].missing, 3);
}

#[test]
fn the_first_half_of_a_series_has_no_holes() {
    assert!(!has_holes(&series(20)[..10]));
    assert!(!has_holes(&[]));
    assert!(!has_holes(&series(1)));
}

#[test]
fn rounding_of_positions_is_no_hole() {
    let headers: Vec<Header> =
        (0..20).map(|number| slice(number, (0.625 * f64::from(number) * 10.0).round() / 10.0)).collect();
    assert!(!has_holes(&headers));
}

#[test]
fn echoes_become_stacks_of_their_own() {
    let mut headers = series(5);
    let second = (0..5).map(|number| {
        let mut header = slice(number + 5, 5.0 * f64::from(number));
        header.echo_time = Some(9.84);
        header
    });
    headers.iter_mut().for_each(|header| header.echo_time = Some(4.92));
    headers.extend(second);
    let found = stacks(&headers);
    let names: Vec<_> = found.stacks.iter().map(|stack| stack.split.clone().unwrap()).collect();
    assert_eq!(names, ["echo time 4.92 ms", "echo time 9.84 ms"]);
    assert_eq!(found.stacks[1].members, [5, 6, 7, 8, 9]);
    assert!(found.left_out.is_empty());
}

#[test]
fn time_points_and_directions_of_diffusion_are_split() {
    let passes = |change: fn(&mut Header, i32)| {
        let mut headers = Vec::new();
        for pass in 0..4 {
            for place in 0..6 {
                let mut header = slice(pass * 6 + place, 5.0 * f64::from(place));
                change(&mut header, pass);
                headers.push(header);
            }
        }
        stacks(&headers)
            .stacks
            .into_iter()
            .map(|stack| (stack.members.len(), stack.split.unwrap()))
            .collect::<Vec<_>>()
    };
    let by_time = passes(|header, pass| header.temporal_position = Some(pass + 1));
    assert_eq!(by_time.len(), 4);
    assert_eq!(by_time[3], (6, "temporal position 4".to_owned()));
    // One unweighted pass, three directions that only their numbers tell apart.
    let by_weight =
        passes(|header, pass| header.diffusion_b_value = Some(if pass == 0 { 0.0 } else { 1000.0 }));
    assert_eq!(by_weight.len(), 4);
    assert_eq!(by_weight[0], (6, "b-value 0 s/mm²".to_owned()));
    assert_eq!(by_weight[3], (6, "b-value 1000 s/mm², pass 3".to_owned()));
    // Nothing but numbers.
    let by_number = passes(|_, _| {});
    assert_eq!(by_number[1], (6, "pass 2".to_owned()));
    // A time that changes with every slice tells nothing.
    let by_number =
        passes(|header, _| header.acquisition_time = format!("1200{:02}", header.instance_number.unwrap()));
    assert_eq!(by_number[1], (6, "pass 2".to_owned()));
}

#[test]
fn duplicates_are_left_out_with_the_one_that_is_used() {
    let mut headers = series(5);
    let mut same_place = slice(2, 10.0);
    same_place.sop_instance = SopInstanceUid::parse("2.25.77").unwrap();
    headers.push(same_place);
    headers.push(headers[1].clone());
    assert_eq!(reasons(&headers), [(5, Reason::DuplicateOf(2)), (6, Reason::DuplicateOf(1))]);
    assert_eq!(stacks(&headers).stacks[0].members, [0, 1, 2, 3, 4]);
}

#[test]
fn one_slice_taken_again_is_no_second_pass() {
    let mut headers = series(8);
    headers.push(slice(40, 15.0));
    let found = stacks(&headers);
    assert_eq!(found.stacks.len(), 1);
    assert_eq!(reasons(&headers), [(8, Reason::DuplicateOf(3))]);
}

#[test]
fn localizers_derived_images_and_documents_are_left_out_with_a_reason() {
    let mut headers = series(3);
    let mut add = |change: fn(&mut Header)| {
        let mut header = slice(50 + headers.len() as i32, 100.0 + headers.len() as f64);
        change(&mut header);
        headers.push(header);
    };
    add(|header| header.image_type = vec!["ORIGINAL".into(), "PRIMARY".into(), "LOCALIZER".into()]);
    add(|header| header.image_type = vec!["DERIVED".into(), "PRIMARY".into(), "MPR".into()]);
    add(|header| header.image_type = vec!["ORIGINAL".into(), "SECONDARY".into()]);
    add(|header| header.modality = "SEG".into());
    add(|header| header.rows = None);
    add(|header| header.manufacturer = "Overread".into());
    add(|header| header.orientation = Some([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]));
    add(|header| header.pixel_spacing = None);
    assert_eq!(
        reasons(&headers),
        [
            (3, Reason::Localizer),
            (4, Reason::Derived),
            (5, Reason::Secondary),
            (6, Reason::NotAnImage),
            (7, Reason::NotAnImage),
            (8, Reason::OwnResult),
            (9, Reason::BadGeometry),
            (10, Reason::BadGeometry),
        ]
    );
    assert_eq!(stacks(&headers).stacks.len(), 1);
    let kept = stacks_with(&headers, DerivedImages::Keep);
    assert_eq!(kept.stacks[0].members.len(), 5, "derived and secondary ones join when asked for");
}

#[test]
fn planes_series_and_sizes_do_not_mix() {
    let mut headers = series(4);
    let mut add = |change: fn(&mut Header)| {
        let mut header = slice(50 + headers.len() as i32, 20.0);
        change(&mut header);
        headers.push(header);
    };
    add(|header| header.orientation = Some([0.0, 1.0, 0.0, 0.0, 0.0, -1.0]));
    add(|header| header.rows = Some(128));
    add(|header| header.pixel_spacing = Some([2.0, 2.0]));
    add(|header| header.series = imaging::SeriesUid::parse("2.25.99").unwrap());
    add(|header| header.frame_of_reference = Some(Uid::parse("2.25.98").unwrap()));
    assert_eq!(stacks(&headers).stacks.len(), 6);
}

#[test]
fn images_without_a_place_in_the_patient_stand_alone() {
    let mut headers = series(2);
    headers.iter_mut().for_each(|header| header.position = None);
    headers.push(headers[0].clone());
    let found = stacks(&headers);
    assert!(found.unplaced.is_empty());
    assert_eq!(found.stacks.iter().map(|stack| stack.members.as_slice()).collect::<Vec<_>>(), [[0], [1]]);
    assert!(found.stacks.iter().all(|stack| stack.plane == Plane::Unplaced && stack.holes.is_empty()));
    assert_eq!(found.left_out, [LeftOut { index: 2, reason: Reason::DuplicateOf(0) }]);
}

#[test]
fn a_screen_shot_that_does_not_say_so_is_left_out() {
    let mut headers = series(1);
    headers[0].position = None;
    headers[0].image_type.clear();
    headers[0].sop_class = Uid::parse("1.2.840.10008.5.1.4.1.1.7").unwrap().into();
    assert_eq!(stacks(&headers).left_out, [LeftOut { index: 0, reason: Reason::Secondary }]);
}

#[test]
fn a_multi_frame_image_without_a_place_is_no_stack() {
    let mut headers = series(1);
    headers[0].position = None;
    headers[0].number_of_frames = 30;
    let found = stacks(&headers);
    assert_eq!((found.unplaced.as_slice(), found.stacks.len()), ([0].as_slice(), 0));
}
