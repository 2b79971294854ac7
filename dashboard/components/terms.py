"""The terms of the pages in plain English, for the page of terms and for tooltips."""

from typing import Final

TERMS: Final = {
    "Alert": "A message from a vehicle that something was seen which may be dangerous.",
    "Level": "How urgent an alert is: info, caution, warning or critical.",
    "Microsleep": "The eyes were closed for one second or more.",
    "Sleep": "The eyes were closed for three seconds or more.",
    "Unresponsive": "The eyes were closed for six seconds or more, or the driver did not answer a "
    "warning.",
    "Drowsy": "The eyes were closed for too large a part of the last minutes (see PERCLOS).",
    "Distraction": "The driver looked away from the road for too long.",
    "Yawning": "The driver yawned. Alone it is never a warning.",
    "Driver not seen": "Nobody could be seen in the driver's place: the driver has left it, or is "
    "where the camera does not look.",
    "Not monitored": "The system runs, but it could not see the driver's eyes well enough. In this "
    "time it cannot warn.",
    "No signal": "The vehicle should be sending, but nothing has arrived for a while.",
    "Attentive": "The driver is monitored, and nothing is wrong.",
    "PERCLOS": "Percentage of eye closure: the part of the last minute in which the eyes were "
    "closed. Only time in which the eyes were seen counts. From 15 % a driver is called drowsy.",
    "Eye opening": "How far the eyes are open, compared with this driver's own open eyes (100 %).",
    "Yaw": "How far the head is turned to the side, in degrees; + is to the driver's left.",
    "Pitch": "How far the head is raised (+) or lowered (-), in degrees.",
    "Roll": "How far the head leans to the side, in degrees; + is to the driver's right.",
    "Fatigue": "A number from 0 to 100 that this project makes of PERCLOS and of recent closures. "
    "It is not a medical measure.",
    "Expression": "What the face looks like (for example neutral or happy). It is shown as "
    "background only and never raises an alert.",
    "Calibrated": "How far the system has learned this driver's own open eyes and straight look.",
    "Calibration": "What the system learned about this driver's open eyes. It is made anew for "
    "each drive.",
    "Frames": "Pictures a second that were looked at.",
    "fps": "Frames per second: pictures a second that were looked at.",
    "Policy": "The file of limits by which alerts are raised, with its version.",
    "Drive": "One run of the system in a vehicle, from start to stop.",
    "Camera": "Which camera saw it.",
    "Acknowledged": "The driver or an operator confirmed that the alert was noticed.",
    "Change": "Grows or falls: only where chance hardly explains it (95 %).",
    "Chosen on": "On which pictures the weights were chosen. Chosen on the test pictures, a figure "
    "flatters.",
    "Judged": "Alerts that somebody called real or false.",
    "Place": "The order by the lower end of the 95 % interval; nobody with few alerts has one.",
    "Monitored h": "Hours in which the driver's eyes were seen well enough.",
    "Closed": "For how long the eyes have been closed.",
    "Trouble": "What the vehicle's own system says is wrong with it.",
    "Restarts": "How often the system in the vehicle started again without a clean stop.",
    "Parameters, M": "Millions of numbers in the file of the model: its size.",
    "Fastest CPU": "The shortest time for one picture that was measured on a processor.",
    "Mean of classes": "The part that is right, averaged over the classes, so that rare ones count "
    "as much as frequent ones.",
    "Origin": "Measured: by this project. Published: as its paper says.",
    "Labels": "What somebody knows the driver did, to compare alerts with.",
    "Signs of closed eyes": "What was measured of the face, and how much each part spoke for "
    "closed eyes (+) or against them (-): natural logarithms of odds, 0 is neither.",
    "Least eye opening": "The smallest eye opening of this alert. 100 % is this driver's open "
    "eyes.",
    "PERCLOS band": "How far the eye closure had gone: a notice, drowsy or severe.",
    "Head turned (yaw)": "How far the head was turned, in degrees; + is to the driver's left.",
    "Head lowered to (pitch)": "How far the head was raised (+) or lowered (-), in degrees.",
    "Kept less urgent at": "At this low speed the alert is not made more urgent.",
    "Limit": "Which of the rules about looking away was reached.",
    "In the database after": "How long the alert took from the vehicle to this database.",
    "Yaw · pitch · roll": "Head to the side (+ left), up (+) or down (-), and leaning (+ right).",
    "Models": "The neural networks that looked at the pictures.",
    "Certainty": "How sure it is that the eyes were closed, from 0 to 100 %.",
    "Eyes seen for": "The part of the time in which the eyes could be seen at all.",
    "Alerts per 100 h": "Alerts in 100 hours in which the driver was monitored. So vehicles that "
    "drive more can be compared with those that drive less.",
    "95 % interval": "The range in which the true value very likely lies. The fewer cases, the "
    "wider it is.",
    "Precision": "Of the alerts that somebody judged: the part that was right.",
    "Monitored": "The part of the driven time in which the driver's eyes were seen well enough.",
    "Reachable": "The part of the time in which the vehicle was connected when it should be.",
    "Coaching": "Talking with the driver about an alert: open, talked about, closed.",
    "Group": "Vehicles that belong together, for example those of one depot.",
    "Driver": "A name or number that the vehicle was given for its driver, never taken from the "
    "face.",
    "Clip": "A short film around an alert. Vehicles keep clips only if that was switched on.",
    "Waiting": "Alerts that are stored in the vehicle because it has no connection.",
    "Dropped": "Alerts that were never delivered because they became too old.",
    "Clock off": "How far the vehicle's clock is from the clock of the server.",
    "Refused messages": "Messages that could not be understood and were put aside.",
    "Time for a frame": "From the picture to its result: 95 of 100 pictures are faster.",
    "Drive time": "How long the recorded drives are.",
    "DDAW sensitivity": "The part of the sleepy moments that a warning found (EU 2021/1341).",
    "Clocks off": "Vehicles whose clock differs from the server's clock.",
    "Refused today": "Messages that could not be understood and were put aside.",
    "Waiting in vehicles": "Alerts that are stored in a vehicle because it has no connection.",
    "Alerts per 100 h monitored": "Alerts in 100 hours in which the driver was monitored. So "
    "vehicles that drive more can be compared with those that drive less.",
    "GMACs": "Billions of multiplications that the model needs for one picture.",
    "mAP50": "A common score for models that find things in pictures: 100 % is perfect.",
    "KSS": "Karolinska Sleepiness Scale: how sleepy the driver says they are, from 1 to 9.",
    "DDAW": "Driver Drowsiness and Attention Warning, an EU rule (2021/1341).",
    "VATS": "Visual Attention Time Sharing: many short looks away that add up (Euro NCAP).",
}


def about(name: str) -> str | None:
    """What a heading means; None where it is an everyday word."""
    return TERMS.get(name)
